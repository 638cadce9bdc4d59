"""What a server counts, in the text format of Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """
    The metrics of one server.

    Args:
        waiting: returns how many requests wait for the model.
    """

    def __init__(self, waiting: Callable[[], int]):
        self.registry = CollectorRegistry()
        answered = {"labelnames": ("endpoint", "status"), "registry": self.registry}
        self._requests = Counter("storyattn_requests", "Requests that were answered.", **answered)
        self._errors = Counter("storyattn_errors", "Requests that were answered by an error.", **answered)
        seconds = "Seconds from a request to its answer."
        options = {"labelnames": ("endpoint",), "registry": self.registry, "buckets": SECONDS}
        self._latency = Histogram("storyattn_request_seconds", seconds, **options)
        sizes = "Requests that the model read as one batch."
        self._batch_size = Histogram("storyattn_batch_size", sizes, registry=self.registry, buckets=SIZES)
        queue = Gauge("storyattn_queue_length", "Requests that wait for the model.", registry=self.registry)
        queue.set_function(waiting)

    def count_request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answer with its status, and the seconds that it took."""
        self._requests.labels(endpoint, status).inc()
        if status >= 400:
            self._errors.labels(endpoint, status).inc()
        self._latency.labels(endpoint).observe(seconds)

    def count_batch(self, size: int) -> None:
        """Count a batch of `size` requests."""
        self._batch_size.observe(size)

    def text(self) -> str:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self.registry).decode("utf-8")
