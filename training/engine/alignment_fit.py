"""
The shared space of pictures and captions in closed form.

Projections of the features of frozen encoders are fitted, for data sets so small that gradient descent overfits.
"""

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from storyattn import StoryAttnConfig, StoryAttnForConditionalGeneration, StoryAttnModel, StoryAttnProcessor
from storyattn.fusion import mean_of_tokens
from storyattn.vision_encoder import pooled_maps
from tqdm.auto import tqdm

from ..common.evaluation_mode import evaluation_mode
from ..evaluation.retrieval import retrieval_metrics

SHRINKAGE = (0.1, 0.3, 1.0, 3.0, 10.0)
DIMENSIONS = (16, 48, 128)
CENTRING = (0.0, 0.3, 0.6)
NUM_COMPONENTS = 300  # principal components of either side
SMALLEST_VARIANCE = 1e-9  # a lower one counts as this
FEWEST_PAGES = 3  # with a caption: fewer have no directions in which they vary


@torch.no_grad()
def fit_alignment(
    model: StoryAttnForConditionalGeneration,
    processor: StoryAttnProcessor,
    train_stories: Sequence[dict],
    validation_stories: Sequence[dict],
    progress: bool = True,
) -> dict[str, float]:
    """
    Set the projections of `model` by canonical correlation analysis of the features of its encoders.

    Args:
        model: a model whose configuration has `align_encoder_features`.
        processor: its processor.
        train_stories: the pages with a caption of these stories are fitted.
        validation_stories: those of these choose shrinkage, dimensions and centring.
        progress: whether to show progress bars.

    Returns:
        What was chosen, and `r10` and `within_story_r1` of text to image on `validation_stories`.

    Raises:
        ValueError: as `check_alignment`, and where fewer than `FEWEST_PAGES` pages have a caption.
    """
    check_alignment(model.config)
    features = {
        split: _encoder_features(model.base_model, processor, stories, split, progress)
        for split, stories in (("train", train_stories), ("validation", validation_stories))
    }
    for split, (images, _, _) in features.items():
        if len(images) < FEWEST_PAGES:
            raise ValueError(f"fit_alignment: got {len(images)} captions to fit on in {split}, expected {FEWEST_PAGES}")
    pictures, texts, stories = ({split: values[side] for split, values in features.items()} for side in range(3))
    width = model.config.projection_dim
    dimensions = sorted({min(size, width) for size in DIMENSIONS})
    fit = best_alignment(pictures, texts, stories, dimensions)
    projections = (model.base_model.image_projection, model.base_model.text_projection)
    for projection, (matrix, mean) in zip(projections, fit["maps"]):
        matrix = F.pad(matrix, (0, width - matrix.shape[1]))  # (C, P)
        projection.weight.copy_(matrix.T)
        projection.bias.copy_(-(mean @ matrix))
    recalls = fit["measured"]["validation"]
    return {**fit["chosen"], **{name: recalls[name] for name in ("r10", "within_story_r1")}}


def check_alignment(config: StoryAttnConfig, baseline: str | None = None) -> None:
    """Raise `ValueError` for a configuration whose shared space cannot be fitted, and for a baseline."""
    if baseline is not None:
        raise ValueError(f"fit_alignment: got --baseline {baseline}, expected the model")
    if not config.align_encoder_features:
        raise ValueError("fit_alignment: got align_encoder_features=false in the configuration, expected true")


def best_alignment(
    pictures: dict[str, torch.Tensor],
    texts: dict[str, torch.Tensor],
    stories: dict[str, torch.Tensor],
    dimensions: Sequence[int] = DIMENSIONS,
    centring: Sequence[float] = CENTRING,
) -> dict:
    """
    Fit maps of pictures and texts into one space on `train`; choose those that retrieve best on `validation`.

    The best have the highest sum of `r10` and `r1` within the story, text to image.

    Args:
        pictures: features `(N, C)` of pages, by split.
        texts: features `(N, C)` of their captions, by split.
        stories: numbers `(N,)` of their stories, by split.
        dimensions: sizes of the shared space to try.
        centring: shares, in [0, 1], of their story's mean to subtract from the pages of `train`: what distinguishes
            the pages of a story then weighs more.

    Returns:
        `maps` of pictures and of texts, each a matrix `(C, d)` and the mean `(C,)` to subtract before; what was
        `chosen`; and the recalls `measured` on every split but `train`.
    """
    sides = [principal_components(features["train"]) for features in (pictures, texts)]
    reduced = [
        {split: (values - mean) @ vectors for split, values in features.items()}
        for features, (vectors, mean) in zip((pictures, texts), sides)
    ]
    best = None
    for share in centring:
        first, second = (centred(side["train"], stories["train"], share) for side in reduced)
        for shrinkage in product(SHRINKAGE, SHRINKAGE):
            maps = canonical_projections(first, second, *shrinkage)
            for width in dimensions:
                chosen = dict(zip(("centring", "shrinkage_images", "shrinkage_texts"), (share, *shrinkage)))
                narrow = [matrix[:, :width] for matrix in maps]
                measured = _measure(reduced, narrow, stories)
                score = measured["validation"]["r10"] + (measured["validation"]["within_story_r1"] or 0.0)
                if best is None or score > best[0]:
                    best = score, narrow, {**chosen, "dimensions": width}, measured
    _, maps, chosen, measured = best
    full_maps = [(vectors @ matrix, mean) for (vectors, mean), matrix in zip(sides, maps)]
    return {"maps": full_maps, "chosen": chosen, "measured": measured}


def principal_components(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the directions `(C, k)` in which features `(N, C)` vary most, and their mean `(C,)`."""
    mean = features.mean(0)
    centred_features = features - mean
    covariance = centred_features.T @ centred_features / len(features)
    return torch.linalg.eigh(covariance).eigenvectors[:, -NUM_COMPONENTS:], mean


def canonical_projections(
    first: torch.Tensor, second: torch.Tensor, shrink_first: float, shrink_second: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return the canonical maps of two sets of features, each direction scaled by its canonical correlation.

    Hotelling 1936; with shrinkage, Vinod 1976.

    Args:
        first: features `(N, C)`, centred.
        second: features `(N, D)`, centred, of the same items.
        shrink_first: this times the mean variance of `first` is added to its variances.
        shrink_second: the same for `second`.

    Returns:
        Matrices `(C, d)` and `(D, d)`.
    """
    roots = []
    for features, shrink in ((first, shrink_first), (second, shrink_second)):
        covariance = features.T @ features / len(features)
        ridge = shrink * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
        values, vectors = torch.linalg.eigh(covariance + ridge)
        roots.append(vectors * values.clamp(min=SMALLEST_VARIANCE).rsqrt() @ vectors.T)
    between = roots[0] @ (first.T @ second / len(first)) @ roots[1]
    left, correlations, right = torch.linalg.svd(between, full_matrices=False)
    return roots[0] @ left * correlations, roots[1] @ right.T * correlations


def centred(features: torch.Tensor, stories: torch.Tensor, share: float) -> torch.Tensor:
    """Return features `(N, C)` less `share` of the mean of their story; `stories (N,)` has its number."""
    sums = features.new_zeros(int(stories.max()) + 1, features.shape[1]).index_add_(0, stories, features)
    counts = torch.bincount(stories).clamp(min=1)[:, None]
    return features - share * (sums / counts)[stories]


def _measure(
    reduced: Sequence[dict[str, torch.Tensor]], maps: Sequence[torch.Tensor], stories: dict[str, torch.Tensor]
) -> dict[str, dict[str, float]]:
    """Return the recalls, text to image, of every split but `train`."""
    measured = {}
    for split in (split for split in stories if split != "train"):
        images, texts = (F.normalize(side[split] @ matrix, dim=-1) for side, matrix in zip(reduced, maps))
        measured[split] = retrieval_metrics(images, texts, stories[split])["text_to_image"]
    return measured


def _encoder_features(
    model: StoryAttnModel, processor: StoryAttnProcessor, stories: Sequence[dict], split: str, progress: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the features of all pages with a caption: pictures `(N, C)`, texts `(N, D)`; and their stories `(N,)`."""
    pictures, texts, numbers = [], [], []
    with evaluation_mode(model):
        for number in tqdm(range(len(stories)), desc=f"aligning {split}", unit="story", disable=not progress):
            story = stories[number]
            captioned = [i for i, caption in enumerate(story["captions"]) if caption and caption.strip()]
            if not captioned:
                continue
            frames, captions = ([story[name][i] for i in captioned] for name in ("frames", "captions"))
            inputs = processor(frames=[frames], captions=[captions], return_tensors="pt").to(model.device)
            pixels, ids, mask = (inputs[name][0] for name in ("pixel_values", "input_ids", "attention_mask"))
            pictures.append(pooled_maps(model.vision_encoder(pixels)[2]).double().cpu())
            states = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            texts.append(mean_of_tokens(states, mask.bool()).double().cpu())
            numbers += [number] * len(captioned)
    if not numbers:
        return torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, dtype=torch.long)
    return torch.cat(pictures), torch.cat(texts), torch.tensor(numbers)
