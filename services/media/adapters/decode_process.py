"""The process that decodes one upload; `upload_decoder` starts it.

    python -m services.media.adapters.decode_process PARENT CONTAINER MAX_SECONDS … < UPLOAD

The upload is its standard input, and both its answer and the samples go into files that are open
when it starts: it opens nothing by name. Before it reads the first byte it is behind barriers
(`sandbox`). The answer is a JSON object: `rate_hz` and `samples`, or `problem`, or `failed` (an
errno), and `lacking`: the barriers that this system has not. Without CONTAINER it only says that.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.media.adapters import sandbox
from services.media.problems import Problem, Refused


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is started with.

    parent: the process that starts it, and with which it ends.
    container: FFmpeg's name of it; empty: only tell which barriers there are.
    target: descriptor of the file to write.
    """

    parent: int
    container: str
    target: int
    max_seconds: float
    bounds: sandbox.Bounds

    def arguments(self) -> list[str]:
        """Return it as the arguments of the command."""
        bounds = self.bounds
        return [
            str(self.parent),
            self.container,
            str(self.target),
            str(self.max_seconds),
            *map(str, (bounds.memory_bytes, bounds.cpu_seconds, bounds.file_bytes)),
            str(bounds.open_files),
        ]

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Order:
        """Read the arguments of the command."""
        parent, container, target, max_seconds, *bounds = arguments
        return cls(
            int(parent),
            container,
            int(target),
            float(max_seconds),
            sandbox.Bounds(*map(int, bounds)),
        )


def main(arguments: Sequence[str]) -> int:
    """Carry an order out, and answer."""
    order = Order.of(arguments)
    sandbox.alone(order.parent)
    # Only now: numpy and FFmpeg may begin threads, and nobody with threads leaves the network.
    import av  # noqa: PLC0415

    from services.media.adapters import decode_upload  # noqa: PLC0415

    sandbox.preload(av, without={"av.datasets"})
    with open(0, "rb") as source, open(order.target, "wb") as target:  # noqa: PTH123 - descriptors
        lacking = sandbox.enclose(order.bounds)
        answer: dict[str, Any] = {"lacking": lacking}
        if order.container:
            try:
                rate_hz, samples = decode_upload.decode(
                    source, order.container, target, order.max_seconds
                )
                answer |= {"rate_hz": rate_hz, "samples": samples}
                target.flush()
            except Refused as refused:
                answer["problem"] = refused.problem
            except OSError as error:
                if error.errno == errno.EFBIG:
                    answer["problem"] = Problem.TOO_COSTLY
                else:
                    # The disk's fault, not the file's.
                    answer["failed"] = error.errno or errno.EIO
            except MemoryError:
                answer["problem"] = Problem.TOO_COSTLY
            except Exception:  # noqa: BLE001 - whatever the file made the decoder do
                answer["problem"] = Problem.DAMAGED
        os.write(1, json.dumps(answer).encode())
    return 0


if __name__ == "__main__":
    # What is left to do at the end of an interpreter is not worth the calls that it takes.
    os._exit(main(sys.argv[1:]))
