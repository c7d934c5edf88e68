"""A run of the benchmark as tests of its reports need it: made up, with rows of every kind of trouble."""

from __future__ import annotations

from dataclasses import replace

from maskrcnn_benchmark.benchmark.results import SCHEMA_VERSION, Environment, Results, Settings
from maskrcnn_benchmark.benchmark.row import (
    FASTER,
    MASK,
    OURS,
    STAGES,
    AveragePrecision,
    BatchThroughput,
    InferenceTimes,
    Load,
    Macs,
    Row,
    SavedForBackward,
    StageTimes,
    TrainingMemory,
    TrainingThroughput,
)

# Milliseconds and MiB of the made-up rows.
TIMES = {"R-50": 200.0, "R-101": 260.0, "V-39": 190.0, "V-57": 220.0, "X-101-32x4d": 410.0}
MEMORY = {"R-50": 3000.0, "R-101": 4000.0, "V-39": 3300.0, "V-57": 3900.0, "X-101-32x4d": 6000.0}
SHARES = (0.01, 0.55, 0.1, 0.12, 0.1, 0.08, 0.01, 0.03)
# What a careless report would let out of its cell.
NASTY = "<script>alert('x')</script> & | \"quoted\"\nsecond line"
IMAGES = 20


def config_of(body: str, detector: str) -> str:
    kind = "faster" if detector == FASTER else "mask"
    folder = "configs/vovnet/" if body.startswith("V") else "configs/"
    return f"{folder}e2e_{kind}_rcnn_{body.replace('-', '_')}_FPN_2x.yaml"


def times(median: float, wobble: float = 0.02, num_images: int = IMAGES) -> tuple[float, ...]:
    """Times that rise from median x (1 - wobble) to median x (1 + wobble), in a mixed order."""
    steps = [(7 * i) % num_images / (num_images - 1) for i in range(num_images)]
    return tuple(median * (1 - wobble + 2 * wobble * step) for step in steps)


def row(body: str = "V-39", detector: str = FASTER, dtype: str = "float32", scale: float = 1.0) -> Row:
    """A row that finished. scale: of its times and memory."""
    time = TIMES[body] * scale * (1.1 if detector == MASK else 1.0) * (0.6 if dtype == "bfloat16" else 1.0)
    memory = MEMORY[body] * scale
    stage = {name: time * share for name, share in zip(STAGES, SHARES, strict=True)}
    if detector == FASTER:
        stage |= {"mask_head": None, "mask_pasting": None}
    kind = "faster" if detector == FASTER else "mask"
    return Row(
        name=f"{kind}-{body}",
        implementation=OURS,
        config=config_of(body, detector),
        backbone=f"{body}-FPN",
        detector=detector,
        dtype=dtype,
        computed_in=dtype,
        status="ok",
        reason="",
        notes=(),
        seconds=12.5,
        parameters=41_704_036,
        macs=Macs(dict.fromkeys(("backbone", "fpn", "rpn"), 60_000_000_000), 180_000_000_000, (800, 1216)),
        load=Load(1000.0, 98.5, "class biases are shifted until about 100 boxes pass"),
        inference=InferenceTimes(time, time * 1.02, IMAGES, times(time), StageTimes(**stage)),
        throughput=(BatchThroughput(2, 2000 / time), BatchThroughput(8, None)),
        training_memory=TrainingMemory("peak allocated", memory, memory * 1.1, None, None, 20, None),
        training_throughput=TrainingThroughput(4.25, 8.5, 2, times(0.47)),
        ap=None,
    )


def out_of_memory(whole: Row) -> Row:
    """The row where training did not fit."""
    changes = {"training_memory": None, "training_throughput": None}
    return replace(whole, status="out_of_memory", reason="CUDA out of memory. Tried 2 GiB", **changes)


def failed(whole: Row, reason: str = NASTY) -> Row:
    """The row where nothing was measured at all."""
    nothing = {"parameters": None, "macs": None, "load": None, "inference": None, "throughput": ()}
    none_trained = {"training_memory": None, "training_throughput": None, "computed_in": None}
    return replace(whole, status="failed", reason=reason, **nothing, **none_trained)


def on_cpu(whole: Row, resident: float, tensors: float | None) -> Row:
    """The row with training memory as a CPU has it, MiB."""
    label = "peak RSS above the idle process (CPU)"
    memory = TrainingMemory(label, None, None, resident, 300.0, 20, None, tensors)
    return replace(whole, training_memory=memory)


def with_ap(whole: Row, box: float, mask: float | None = None) -> Row:
    """The row with AP measured, 0..1; no small objects in the dataset."""

    def scores(ap: float) -> dict[str, float | None]:
        return {"AP": ap, "AP50": ap + 0.2, "APs": None, "APm": ap + 0.03, "APl": ap + 0.1}

    measured = AveragePrecision("coco_2017_val", 5000, "a.pth", scores(box), mask and scores(mask))
    return replace(whole, ap=measured)


def results(rows: tuple[Row, ...] | None = None, peers: tuple[Row, ...] | None = None) -> Results:
    """Eight rows of the VoVNet table: one with AP, one out of memory, one failed; a note; one peer."""
    if rows is None:
        made = {
            (detector, body): row(body, detector)
            for detector in (FASTER, MASK)
            for body in ("R-50", "R-101", "V-39", "V-57")
        }
        made[FASTER, "V-39"] = with_ap(made[FASTER, "V-39"], 0.4012)
        made[FASTER, "R-101"] = replace(made[FASTER, "R-101"], notes=("the split is missing <here>",))
        made[MASK, "R-101"] = failed(made[MASK, "R-101"])
        made[MASK, "V-57"] = out_of_memory(made[MASK, "V-57"])
        kept = (SavedForBackward("backbone.body.stage2", 512.5, 12),)
        memory = made[MASK, "V-39"].training_memory
        assert memory is not None
        made[MASK, "V-39"] = replace(made[MASK, "V-39"], training_memory=replace(memory, breakdown=kept))
        rows = tuple(made.values())
    if peers is None:
        peers = (replace(row("R-50", FASTER, scale=1.5), implementation="torchvision", config="fasterrcnn"),)
    return Results(SCHEMA_VERSION, environment(), settings(), protocol(), rows, peers)


def cpu_results(with_tensors: bool = True) -> Results:
    """R-50 and V-39 on a CPU, where V-39 takes less resident memory and more tensors."""
    rows = (
        on_cpu(row("R-50"), 4000.0, 3000.0 if with_tensors else None),
        on_cpu(row("V-39"), 3800.0, 3300.0),
    )
    whole = results(rows, ())
    return replace(whole, environment=replace(whole.environment, device_type="cpu"))


def environment() -> Environment:
    return Environment(
        date="2026-11-21T05:00:00+00:00",
        commit="abc1234",
        device_type="cuda",
        device="Card <One> & Co",
        processor="Processor 9000",
        num_cores=16,
        num_threads=8,
        num_processes=2,
        memory_mib=65536.0,
        system="Linux",
        python="3.11.9",
        torch="2.14.1",
        torchvision="0.29.1",
        cuda="13.0",
        cudnn="9.1",
        driver="580.1",
        operators="compiled",
        state={"power limit": "700 W"},
    )


def settings() -> Settings:
    return Settings(
        steps=20,
        images=IMAGES,
        batch_sizes=(2, 8),
        dtypes=("float32",),
        quick=False,
        images_per_process=2,
        short_side=800,
        long_side=1333,
        sizes_from="COCO statistics",
        dataset=None,
        weights_dir=None,
        peers=("torchvision",),
        memory_breakdown=True,
        seed=0,
    )


def protocol() -> dict[str, str]:
    return {
        "inference": "Batch 1, warmed up, the device waited for; loading and pasting do not count.",
        "training_memory": "Largest allocation over 20 steps at 2 images.",
        "another": "A measure of a later day.",
    }
