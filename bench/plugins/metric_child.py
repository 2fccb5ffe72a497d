"""A metric on blocks of samples, in a process of its own: ``python -m bench.plugins.metric_child JOB PIPE``.

It reports ``{"block": i, "value": v}`` or ``{"block": i, "failure": {...}}`` for every block, in their order.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from bench.evaluation import evaluator_for
from bench.plugins.child import end_with_parent, limit_memory
from bench.plugins.metric_job import MetricJob, block_values


def main(words: list[str]) -> int:
    """Measure all blocks of the job; the exit status is 0 whether the metric is fine or not."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    job, pipe = MetricJob.model_validate_json(Path(words[0]).read_text(encoding="utf-8")), int(words[1])

    def tell(**report: Any) -> None:
        os.write(pipe, json.dumps(report).encode() + b"\n")

    torch.set_num_threads(job.threads)
    evaluator = evaluator_for(job.suite, job.device)
    limit_memory(job.device, job.memory_bytes)
    for number, found in enumerate(block_values(job, evaluator, job.find(), lambda: tell(tick=True))):
        key, value = ("value", found) if isinstance(found, float) else ("failure", found.model_dump())
        tell(**{"block": number, key: value})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
