"""What the media service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From a turn of a few seconds to a lesson of three hours on a busy machine.
_JOB_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class MediaMetrics:
    """Metrics of recordings, uploads, and what prepares their sound."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._jobs = Counter(
            "parley_media_jobs_total",
            "Jobs of codec processes, by what they came to: done; failed, as where a disk is full; "
            "broken, where the process died twice.",
            ["job", "outcome"],
            registry=registry,
        )
        self._seconds = Histogram(
            "parley_media_job_seconds",
            "How long jobs took, without their waiting.",
            ["job"],
            buckets=_JOB_BUCKETS,
            registry=registry,
        )
        self._died = Counter(
            "parley_media_process_deaths_total",
            "Codec processes that ended in the middle of a job; each is replaced.",
            ["job"],
            registry=registry,
        )
        self._processes = Gauge(
            "parley_media_processes", "Codec processes there are.", registry=registry
        )
        self._places = Gauge(
            "parley_media_places",
            "Jobs that run or wait, by pool.",
            ["pool"],
            registry=registry,
        )
        self._uploads = Counter(
            "parley_media_uploads_total",
            "Files that learners sent, by what was wrong with them; `none` where nothing was.",
            ["problem"],
            registry=registry,
        )
        self._barriers = Gauge(
            "parley_media_decoder_barriers",
            "1 for each barrier around the process that decodes uploads; 0 where the system lacks "
            "it.",
            ["barrier"],
            registry=registry,
        )

    def job_ended(self, job: str, outcome: str, seconds: float) -> None:
        """Count a job of a codec process."""
        self._jobs.labels(job, outcome).inc()
        self._seconds.labels(job).observe(seconds)

    def process_died(self, job: str) -> None:
        """Count a codec process that ended in the middle of a job."""
        self._died.labels(job).inc()

    def watch_processes(self, count: Callable[[], int]) -> None:
        """Ask `count` how many codec processes there are, whenever somebody scrapes."""
        self._processes.set_function(count)

    def watch_pool(self, name: str, taken: Callable[[], int]) -> None:
        """Ask `taken` how many jobs a pool has, whenever somebody scrapes."""
        self._places.labels(name).set_function(taken)

    def upload_ended(self, problem: str) -> None:
        """Count an uploaded file; `problem` is empty where it was taken."""
        self._uploads.labels(problem or "none").inc()

    def barriers(self, all_of_them: Iterable[str], lacking: Iterable[str]) -> None:
        """Note which barriers there are around a decoder."""
        missing = set(lacking)
        for each in all_of_them:
            self._barriers.labels(each).set(each not in missing)
