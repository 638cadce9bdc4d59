"""What an evaluation measures with beside the model: the same for all models that are compared."""

from typing import NamedTuple

from storyattn import StoryAttnProcessor

from ..common.defaults import FEATURE_NETWORK
from ..models import efficientnet_lite0
from ..models.baselines.text_only import TextOnlyModel
from ..models.load import load_model
from .clip_score import ClipScore
from .feature_network import FeatureNetwork, load_feature_network
from .windows import Model


class Instruments(NamedTuple):
    """
    What an evaluation measures with, as far as it is given.

    Attributes:
        feature_network: the network of the perceptual distance, FID and KID.
        clip_score: collects how well frames fit their captions; one for each evaluation.
        text_only: the baseline of that name and its processor, a floor of captions.
    """

    feature_network: FeatureNetwork | None = None
    clip_score: ClipScore | None = None
    text_only: tuple[Model, StoryAttnProcessor] | None = None

    def notes(self) -> list[str]:
        """Return what the results say of them."""
        if self.feature_network is None:
            notes = ["no feature network (pip install 'storyattn[metrics]'): no perceptual distance, FID or KID"]
        else:
            name = self.feature_network.name
            notes = [f"perceptual distance, FID and KID are measured in features of {name}, the same for all models"]
        if self.text_only is None:
            notes.append("no text_only baseline was given: captions have no floor that a trained model sets")
        return notes


def load_instruments(
    feature_network: str = FEATURE_NETWORK,
    clip_model: str | None = None,
    text_only: str | None = None,
    device: str | None = None,
) -> Instruments:
    """
    Load what is measured with.

    Args:
        feature_network: see `load_feature_network`; empty for none. The default may be missing.
        clip_model: folder or Hub id of a CLIP model, if any.
        text_only: folder or Hub id of a trained baseline `text_only`, if any.
        device: where the baseline is moved to; by default a GPU where there is one.

    Raises:
        FileNotFoundError: where something is not at hand.
        ValueError: where something cannot be loaded, or is something else.
    """
    network = None
    if feature_network == FEATURE_NETWORK:
        network = load_feature_network() if efficientnet_lite0.is_installed() else None
    elif feature_network:
        network = load_feature_network(feature_network)
    baseline = None if text_only is None else load_model(text_only, device)
    if baseline is not None and not isinstance(baseline[0], TextOnlyModel):
        kind = baseline[0].config.model_type
        raise ValueError(
            f"text_only: got {text_only!r} of type {kind}, expected {TextOnlyModel.config_class.model_type}"
        )
    return Instruments(network, None if clip_model is None else ClipScore(clip_model), baseline)
