"""The measures by which models are compared on the Hub: in `model-index`, in `.eval_results` and in `eval.yaml`."""

from typing import NamedTuple

from .tables import value_at


class PublishedMetric(NamedTuple):
    """A measure: its id, its name, where it stands in `metrics`, and whether it is among the main ones of a card."""

    id: str
    name: str
    path: tuple[str, ...]
    is_main: bool = False

    @property
    def type(self) -> str:
        """What the Hub calls the metric: the id without what is measured, such as `chrf` for `next_caption_chrf`."""
        return self.id.removeprefix(f"{self.path[0]}_")


PUBLISHED_METRICS = (
    PublishedMetric("next_frame_l1", "L1 of the next frame, lower is better", ("next_frame", "l1"), True),
    PublishedMetric(
        "next_frame_l1_changed", "L1 on its changed pixels, lower is better", ("next_frame", "l1_changed"), True
    ),
    PublishedMetric(
        "next_frame_l1_changed_per_frame",
        "L1 on its changed pixels, mean per frame, lower is better",
        ("next_frame", "l1_changed_per_frame"),
    ),
    PublishedMetric("exact_state", "Share of frames in the right state", ("state", "caption_given", "exact"), True),
    PublishedMetric("next_frame_psnr", "PSNR of the next frame", ("next_frame", "psnr")),
    PublishedMetric("next_frame_ssim", "SSIM of the next frame", ("next_frame", "ssim")),
    PublishedMetric(
        "next_caption_loss", "Loss per token of the next caption, lower is better", ("next_caption", "loss")
    ),
    PublishedMetric(
        "next_caption_bits_per_byte",
        "Bits per byte of the next caption, lower is better",
        ("next_caption", "bits_per_byte"),
        True,
    ),
    PublishedMetric("next_caption_meteor", "METEOR of the next caption, without synonyms", ("next_caption", "meteor")),
    PublishedMetric("next_caption_chrf", "chrF of the next caption", ("next_caption", "chrf"), True),
    PublishedMetric("next_caption_cider", "CIDEr-D of the next caption", ("next_caption", "cider")),
    PublishedMetric(
        "next_caption_event",
        "Share of next captions with the right character, action and place",
        ("next_caption", "event", "all"),
        True,
    ),
    PublishedMetric(
        "describe_bits_per_byte", "Bits per byte of a description, lower is better", ("describe", "bits_per_byte")
    ),
    PublishedMetric("describe_chrf", "chrF of a description", ("describe", "chrf"), True),
    PublishedMetric("describe_cider", "CIDEr-D of a description", ("describe", "cider")),
    PublishedMetric("retrieval_r1", "Text-to-image recall at 1", ("retrieval", "text_to_image", "r1"), True),
    PublishedMetric("retrieval_r10", "Text-to-image recall at 10", ("retrieval", "text_to_image", "r10")),
    PublishedMetric(
        "attention_pointing_game", "Pointing game of the spatial attention", ("attention", "pointing_game"), True
    ),
)


def measured_metrics(metrics: dict, main_only: bool = False) -> list[tuple[PublishedMetric, float]]:
    """Return the published measures that `metrics` of `evaluate_model` has, or the main ones of them, with values."""
    chosen = [metric for metric in PUBLISHED_METRICS if metric.is_main or not main_only]
    values = [(metric, value_at(metrics, metric.path)) for metric in chosen]
    return [(metric, value) for metric, value in values if value is not None]


def task_id(split: str, metric: PublishedMetric) -> str:
    """Return the id by which a result on a split names its task in the `eval.yaml` of the data set."""
    return f"{split}_{metric.id}"
