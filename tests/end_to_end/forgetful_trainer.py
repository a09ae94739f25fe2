"""The trainer, but that a stream that breaks takes the images with it that were on it. For tests alone.

python forgetful_trainer.py run ...
"""

import sys
from typing import Any

from clip_labeler.session import StreamSession
from trainer.__main__ import main

real_restart = StreamSession.restart


def restart(self: StreamSession[Any, Any], server_info: Any) -> None:
    self._unanswered.clear()
    self._bytes_in_flight = 0
    real_restart(self, server_info)


StreamSession.restart = restart  # type: ignore[method-assign]
if __name__ == "__main__":
    sys.exit(main())
