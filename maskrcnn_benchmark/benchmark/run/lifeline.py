"""A process that ends when the one that started it is gone."""

from __future__ import annotations

import os
import threading
import time

SECONDS_BETWEEN_LOOKS = 0.5


def die_with_parent(parent: int) -> None:
    """Ends this process once `parent` is not its parent any more.

    The parent may have been killed without a chance to end its children.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
