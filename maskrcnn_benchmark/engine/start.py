"""How a run begins: one seed for all processes, a folder of its own, a log."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Sequence

import torch

from maskrcnn_benchmark.config import ConfigNode
from maskrcnn_benchmark.utils import comm
from maskrcnn_benchmark.utils.logger import setup_logger
from maskrcnn_benchmark.utils.random_state import choose_seed, seed_everything, use_deterministic_algorithms
from maskrcnn_benchmark.utils.run_folder import check_run_folder, recorded_seed, write_config

logger = logging.getLogger("maskrcnn_benchmark.start")


def make_seeded_config(cfg: ConfigNode, resume: bool) -> ConfigNode:
    """The config with a seed drawn where SEED is -1, one for all processes; a resumed run keeps its own."""
    seed = recorded_seed(cfg.OUTPUT_DIR) if resume and cfg.SEED < 0 else None
    seeded = cfg.clone()
    seeded.defrost()
    seeded.SEED = comm.all_gather(choose_seed(cfg.SEED if seed is None else seed))[0]
    seeded.freeze()
    return seeded


def start_run(
    folder: str, config: str, resume: bool, seed: int, deterministic: bool, facts: Sequence[str] = ()
) -> None:
    """Checks the folder of the run, opens its log and seeds the random generators.

    config: what config.yml of the run holds. facts: further lines for the log.

    Raises:
        ValueError: the folder cannot serve this run; see `check_run_folder`.
    """
    check_run_folder(folder, config, resume)
    comm.synchronize()  # everyone has looked at the folder before anything is written there
    if comm.is_main_process():
        write_config(folder, config)
    setup_logger("maskrcnn_benchmark", folder, comm.get_rank())
    logger.info("Command: %s", shlex.join(sys.argv))
    logger.info("Processes: %d; torch %s; seed %d", comm.get_world_size(), torch.__version__, seed)
    for fact in facts:
        logger.info("%s", fact)
    logger.info("Config:\n%s", config)
    if deterministic:
        use_deterministic_algorithms()
    seed_everything(seed + comm.get_rank())
