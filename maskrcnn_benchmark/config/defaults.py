"""Every configuration key, its default and its meaning.

Keys and defaults are those of the maskrcnn-benchmark family, so that its configs load as they are; what this
package adds is marked `(new)`. Family keys that are not implemented here stand in `not_implemented.py`.
The one default that differs from the family's is MODEL.DEVICE ("auto" instead of "cuda").
"""

from maskrcnn_benchmark.config.node import ConfigNode as CN

_C = CN()
_C.OUTPUT_DIR = "."  # folder of the run: log, metrics, checkpoints, results
_C.DTYPE = "float32"  # float32 | bfloat16 | float16: dtype of body and heads; boxes and losses stay float32
_C.SEED = -1  # (new) seed of every random choice; -1 draws one, which config.yml of the run then holds
_C.DETERMINISTIC = False  # (new) deterministic algorithms; a warning names an operation that has none
_C.PATHS_CATALOG = ""  # (family) your .py file, or module, with a class DatasetCatalog: imported, and so run

_C.IMPORTS = ()  # (new) your own modules, by name or as .py files: imported before anything is built
_C.METRIC_WRITERS = ("tensorboard",)  # (new) where a run's numbers go beside metrics.jsonl: registered names

_C.MODEL = CN()
_C.MODEL.DEVICE = "auto"  # auto | cpu | cuda | cuda:N; auto takes a GPU when there is one
_C.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"  # a name in modeling.registry.DETECTORS
_C.MODEL.MASK_ON = False  # adds the mask head: Mask R-CNN
_C.MODEL.CLS_AGNOSTIC_BBOX_REG = False  # one box per region instead of one per class
# (new) box head: smooth_l1 | l1 on deltas; iou | giou | bounded_iou | diou | ciou on boxes, or another one of
# modeling.registry.BOX_REG_LOSSES
_C.MODEL.BOX_REG_LOSS = "smooth_l1"
_C.MODEL.BOX_REG_LOSS_WEIGHT = 1.0  # (new) factor of the box head's box loss
_C.MODEL.WEIGHT = ""  # weights to start from: a path or a catalog:// name; "" starts from scratch
_C.MODEL.WEIGHT_PARTIAL = False  # (new) accept a weights file that leaves part of the model untouched
_C.MODEL.COMPILE = False  # (new) torch.compile the dense part: body, FPN, RPN head

_C.MODEL.BACKBONE = CN()
_C.MODEL.BACKBONE.CONV_BODY = "R-50-C4"  # a name in modeling.registry.BACKBONES, such as V-39-FPN
_C.MODEL.BACKBONE.NORM = (
    ""  # (new) FrozenBN | BN | SyncBN | GN; "" is frozen batch norm, or GN where the family's keys say so
)
# (new) names in modeling.registry.CONVOLUTIONS for the 3x3 convolutions of each stage after the stem, or ""
_C.MODEL.BACKBONE.STAGE_CONV = ("", "", "", "")
_C.MODEL.BACKBONE.FREEZE_CONV_BODY_AT = 2  # stages below this number are not trained; 0 trains everything

_C.MODEL.FPN = CN()
_C.MODEL.FPN.OUT_CHANNELS = 0  # (new) channels of every level; 0: as the body's BACKBONE_OUT_CHANNELS, or 256
_C.MODEL.FPN.USE_GN = False  # GroupNorm after each FPN convolution
_C.MODEL.FPN.USE_RELU = False  # ReLU after each FPN convolution

_C.MODEL.GROUP_NORM = CN()
_C.MODEL.GROUP_NORM.DIM_PER_GP = -1  # channels per group; -1 uses NUM_GROUPS
_C.MODEL.GROUP_NORM.NUM_GROUPS = 32
_C.MODEL.GROUP_NORM.EPSILON = 1e-5

_C.MODEL.VOVNET = CN()
_C.MODEL.VOVNET.PRETRAINED = ""  # (family, unused there as well) only "" is accepted
_C.MODEL.VOVNET.USE_GN = False  # GroupNorm instead of frozen batch norm
_C.MODEL.VOVNET.OUT_CHANNELS = 256  # channels of the first OSA stage: those of the body, or this default
_C.MODEL.VOVNET.BACKBONE_OUT_CHANNELS = 256  # channels of every FPN level
_C.MODEL.VOVNET.RECOMPUTE_CONCAT = True  # (new) do not keep OSA concatenations for backward: less memory
_C.MODEL.VOVNET.IDENTITY = True  # (new) False: no OSA module adds its input, as in timm's vovnet39a
_C.MODEL.VOVNET.SQUEEZE_EVERY_MODULE = False  # (new) V2: as vovnet-detectron2; False: the last of a stage

_C.MODEL.RESNETS = CN()
_C.MODEL.RESNETS.NUM_GROUPS = 1  # groups of the 3x3 convolution (ResNeXt > 1)
_C.MODEL.RESNETS.WIDTH_PER_GROUP = 64
_C.MODEL.RESNETS.STRIDE_IN_1X1 = True  # True: MSRA style, stride in the first 1x1; False: in the 3x3
_C.MODEL.RESNETS.TRANS_FUNC = "BottleneckWithFixedBatchNorm"  # or BottleneckWithGN
_C.MODEL.RESNETS.STEM_FUNC = "StemWithFixedBatchNorm"  # or StemWithGN
_C.MODEL.RESNETS.RES5_DILATION = 1
_C.MODEL.RESNETS.BACKBONE_OUT_CHANNELS = 256 * 4  # channels of every FPN level; 256 in every FPN config
_C.MODEL.RESNETS.RES2_OUT_CHANNELS = 256
_C.MODEL.RESNETS.STEM_OUT_CHANNELS = 64

_C.MODEL.RPN = CN()
_C.MODEL.RPN.RPN_HEAD = "SingleConvRPNHead"
_C.MODEL.RPN.MID_CHANNELS = 0  # (new) channels between the head's two convolutions; 0: as its input
_C.MODEL.RPN.USE_FPN = False
_C.MODEL.RPN.ANCHOR_SIZES = (32, 64, 128, 256, 512)  # pixels; with FPN one a level, or ((32, 48), ...)
_C.MODEL.RPN.ANCHOR_STRIDE = (16,)  # pixels; one a level
_C.MODEL.RPN.ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height over width
_C.MODEL.RPN.STRADDLE_THRESH = (
    0  # anchors further outside the image than this are not trained on; -1 keeps all
)
_C.MODEL.RPN.FG_IOU_THRESHOLD = 0.7
_C.MODEL.RPN.BG_IOU_THRESHOLD = 0.3
_C.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 256  # anchors sampled for the loss
_C.MODEL.RPN.POSITIVE_FRACTION = 0.5
_C.MODEL.RPN.PRE_NMS_TOP_N_TRAIN = 12000  # a level and image
_C.MODEL.RPN.PRE_NMS_TOP_N_TEST = 6000
_C.MODEL.RPN.POST_NMS_TOP_N_TRAIN = 2000  # a level and image
_C.MODEL.RPN.POST_NMS_TOP_N_TEST = 1000
_C.MODEL.RPN.NMS_THRESH = 0.7
_C.MODEL.RPN.MIN_SIZE = 0  # pixels; smaller proposals are dropped
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN = 2000  # over all levels; of the whole batch or each image, see below
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TEST = 2000  # over all levels, each image
_C.MODEL.RPN.BOX_REG_LOSS = "smooth_l1"  # (new) as MODEL.BOX_REG_LOSS, for the RPN
_C.MODEL.RPN.BOX_REG_LOSS_WEIGHT = 1.0  # (new) factor of the RPN's box loss
_C.MODEL.RPN.FPN_POST_NMS_PER_BATCH = True  # training: the top N of the batch (True) or of each image (False)

_C.MODEL.ROI_HEADS = CN()
_C.MODEL.ROI_HEADS.USE_FPN = False  # as MODEL.RPN.USE_FPN
_C.MODEL.ROI_HEADS.FG_IOU_THRESHOLD = 0.5
_C.MODEL.ROI_HEADS.BG_IOU_THRESHOLD = 0.5
_C.MODEL.ROI_HEADS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_C.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512  # regions sampled for the losses
_C.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25
_C.MODEL.ROI_HEADS.SCORE_THRESH = 0.05  # detections below are dropped
_C.MODEL.ROI_HEADS.NMS = 0.5  # IoU above which the lower-scored of two detections of a class goes
_C.MODEL.ROI_HEADS.DETECTIONS_PER_IMG = 100
_C.MODEL.ROI_HEADS.EXTRA = ()  # (new) names in modeling.registry.ROI_HEADS: more heads, after box and mask

_C.MODEL.ROI_BOX_HEAD = CN()
_C.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
_C.MODEL.ROI_BOX_HEAD.PREDICTOR = "FastRCNNPredictor"
_C.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
_C.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0  # samples a bin side; 0 adapts to the region
_C.MODEL.ROI_BOX_HEAD.POOLER_SCALES = (1.0 / 16,)
_C.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 81  # classes of the data plus one for the background
_C.MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM = 1024
_C.MODEL.ROI_BOX_HEAD.USE_GN = False
_C.MODEL.ROI_BOX_HEAD.DILATION = 1
_C.MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM = 256  # FPNXconv1fcFeatureExtractor: channels of its convolutions
_C.MODEL.ROI_BOX_HEAD.NUM_STACKED_CONVS = 4

_C.MODEL.ROI_MASK_HEAD = CN()
_C.MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
_C.MODEL.ROI_MASK_HEAD.PREDICTOR = "MaskRCNNC4Predictor"
_C.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
_C.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 0
_C.MODEL.ROI_MASK_HEAD.POOLER_SCALES = (1.0 / 16,)
_C.MODEL.ROI_MASK_HEAD.CONV_LAYERS = (256, 256, 256, 256)
_C.MODEL.ROI_MASK_HEAD.RESOLUTION = 14  # side of the predicted mask
_C.MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True  # extractor and pooler: C4 heads; False for FPN
_C.MODEL.ROI_MASK_HEAD.DILATION = 1
_C.MODEL.ROI_MASK_HEAD.USE_GN = False

_C.INPUT = CN()
_C.INPUT.MIN_SIZE_TRAIN = (800,)  # short side, pixels; several: one is drawn for each image
_C.INPUT.MIN_SIZE_RANGE_TRAIN = (-1, -1)  # (new) draw the short side from low .. high instead; -1: off
_C.INPUT.MAX_SIZE_TRAIN = 1333  # long side at most
_C.INPUT.MIN_SIZE_TEST = 800
_C.INPUT.MAX_SIZE_TEST = 1333
_C.INPUT.PIXEL_MEAN = [102.9801, 115.9465, 122.7717]  # blue, green, red
_C.INPUT.PIXEL_STD = [1.0, 1.0, 1.0]
_C.INPUT.TO_BGR255 = True  # True: blue-green-red in 0..255; False: red-green-blue in 0..1
# (new) bits that 16-bit images use, 8 to 16; 0: those that the file names, or that its largest value needs
_C.INPUT.PIXEL_BITS = 0
_C.INPUT.BRIGHTNESS = 0.0  # strength of the random colour changes in training
_C.INPUT.CONTRAST = 0.0
_C.INPUT.SATURATION = 0.0
_C.INPUT.HUE = 0.0
_C.INPUT.HORIZONTAL_FLIP_PROB_TRAIN = 0.5  # (the fork has it fixed at 0.5)
_C.INPUT.VERTICAL_FLIP_PROB_TRAIN = 0.0
_C.INPUT.TRANSFORMS_TRAIN = (  # (new) names in data.transforms.TRANSFORMS, in their order; yours among them
    *("color_jitter", "resize", "horizontal_flip", "vertical_flip"),
)

_C.DATASETS = CN()
_C.DATASETS.TRAIN = ()  # catalogue names, "annotations.json@image_folder", or "kind://location"
_C.DATASETS.TEST = ()

_C.DATALOADER = CN()
_C.DATALOADER.NUM_WORKERS = 4
_C.DATALOADER.SIZE_DIVISIBILITY = 0  # batches are padded to a multiple of this; 32 for FPN
_C.DATALOADER.ASPECT_RATIO_GROUPING = True  # wide with wide, tall with tall: less padding
_C.DATALOADER.FILTER_EMPTY = True  # (new) leave images without objects out of training
_C.DATALOADER.START_METHOD = "fork"  # (new) fork | spawn | forkserver: how worker processes start

_C.SOLVER = CN()
_C.SOLVER.MAX_ITER = 40000
_C.SOLVER.BASE_LR = 0.001
_C.SOLVER.BIAS_LR_FACTOR = 2.0
_C.SOLVER.MOMENTUM = 0.9
_C.SOLVER.WEIGHT_DECAY = 0.0005
_C.SOLVER.WEIGHT_DECAY_BIAS = 0.0
_C.SOLVER.BACKBONE_LR_FACTOR = 1.0  # (new) factor of the learning rate of the body, backbone.body
_C.SOLVER.LR_SCHEDULE = (
    "multistep"  # (new) multistep: drops at STEPS | poly | cosine: falls until MAX_ITER; all after a warm-up
)
_C.SOLVER.POLY_POWER = 0.9  # (new) poly: the learning rate falls as (1 - progress) ** POLY_POWER
_C.SOLVER.END_LR_FACTOR = 0.0  # (new) poly, cosine: where the learning rate ends, over BASE_LR
_C.SOLVER.GAMMA = 0.1  # the learning rate is multiplied by this at each of STEPS
_C.SOLVER.STEPS = (30000,)
_C.SOLVER.WARMUP_FACTOR = 1.0 / 3
_C.SOLVER.WARMUP_ITERS = 500
_C.SOLVER.WARMUP_METHOD = "linear"  # linear | constant
_C.SOLVER.CHECKPOINT_PERIOD = 2500  # iterations
_C.SOLVER.IMS_PER_BATCH = 16  # images of one optimizer step, over all processes
_C.SOLVER.AUTO_SCALE = True  # (new) BASE_LR and schedule follow an IMS_PER_BATCH of the command line
_C.SOLVER.ACCUMULATION_STEPS = (
    1  # (new) backward passes an optimizer step; each takes its share of IMS_PER_BATCH
)
_C.SOLVER.CLIP_GRAD_NORM = 0.0  # (new) largest L2 norm of the gradient; 0 does not clip
_C.SOLVER.LOG_PERIOD = 20  # (new) iterations between two log lines
_C.SOLVER.KEEP_CHECKPOINTS = 0  # (new) numbered checkpoints kept; 0 keeps all
_C.SOLVER.HOOKS = ()  # (new) what else happens in training: names registered in engine.hooks.HOOKS

_C.TEST = CN()
_C.TEST.EXPECTED_RESULTS = []  # [[task, metric, mean, std], ...]: checked after the test
_C.TEST.EXPECTED_RESULTS_SIGMA_TOL = 4.0
_C.TEST.IMS_PER_BATCH = 8  # images over all processes
_C.TEST.EVALUATOR = ""  # (new) a name in data.datasets.EVALUATORS; "" is that of the dataset's kind
_C.TEST.EVAL_PERIOD = 0  # (new) iterations between two evaluations in training; 0 evaluates at the end only
_C.TEST.EARLY_STOPPING_PATIENCE = 0  # (new) stop after this many evaluations without a better AP; 0: never
