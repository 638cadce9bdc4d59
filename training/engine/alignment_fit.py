"""
The shared space in closed form: projections of what frozen encoders give, where stories are too few to learn them by
steps of gradient descent without learning the stories by heart.
"""

from itertools import product

import torch
import torch.nn.functional as F
from storyattn.fusion import mean_of_tokens
from storyattn.vision_encoder import pooled_maps
from tqdm.auto import tqdm

from ..evaluation.retrieval import retrieval_metrics

SHRINKAGE = (0.1, 0.3, 1.0, 3.0, 10.0)
DIMENSIONS = (16, 48, 128)
CENTRING = (0.0, 0.3, 0.6)
KEPT = 300  # principal components of either side
TINY = 1e-9  # variance below which there is none
FEWEST = 3  # pages with a caption: with fewer there are no directions to find


@torch.no_grad()
def fit_alignment(model, processor, train_stories, validation_stories, progress: bool = True) -> dict[str, float]:
    """
    Sets the projections of `model`, whose configuration has `align_encoder_features`, by canonical correlation analysis
    of all pages of `train_stories` that have a caption.

    Returns what was chosen on `validation_stories`, and the `r10` and `within_story_r1` of text to image that it has
    there. Raises `ValueError` where `check_alignment` does and where fewer than 3 pages have a caption.
    """
    check_alignment(model.config)
    read = {
        split: _features(model.base_model, processor, stories, split, progress)
        for split, stories in (("train", train_stories), ("validation", validation_stories))
    }
    for split, (images, _, _) in read.items():
        if len(images) < FEWEST:
            raise ValueError(f"fit_alignment: found {len(images)} captions to fit on in {split}, expected {FEWEST}")
    pictures, texts, stories = ({split: values[side] for split, values in read.items()} for side in range(3))
    width = model.config.projection_dim
    dimensions = sorted({min(size, width) for size in DIMENSIONS})
    found = best_alignment(pictures, texts, stories, dimensions)
    maps = found.pop("maps")
    for projection, (matrix, mean) in zip((model.base_model.image_projection, model.base_model.text_projection), maps):
        matrix = F.pad(matrix, (0, width - matrix.shape[1]))  # (C, P)
        projection.weight.copy_(matrix.T)
        projection.bias.copy_(-(mean @ matrix))
    best = found["measured"]["validation"]
    return {**found["chosen"], **{name: best[name] for name in ("r10", "within_story_r1")}}


def check_alignment(config, baseline: str | None = None) -> None:
    """Raises `ValueError` for a configuration whose shared space cannot be fitted, and for a baseline."""
    if baseline is not None:
        raise ValueError(f"fit_alignment: found --baseline {baseline}, expected the model")
    if not config.align_encoder_features:
        raise ValueError("fit_alignment: found align_encoder_features=false in the configuration, expected true")


def best_alignment(
    pictures: dict, texts: dict, stories: dict, dimensions=DIMENSIONS, centring: tuple[float, ...] = CENTRING
) -> dict:
    """
    Features `(N, C)` of pictures and texts, and the numbers `(N,)` of their stories, by split: `maps` of both sides,
    each a matrix `(C, d)` and the mean `(C,)` that is taken off before, with what is best on `validation` (the sum of
    `r10` and `r1` within the story, text to image); what was `chosen`; and of every split but `train` the recalls
    `measured`.

    `centring` are shares of their story's mean that are taken off the pages of `train`: what tells the pages of a story
    apart then weighs more.
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
                measured = {
                    split: _recalls(*(side[split] @ m[:, :width] for side, m in zip(reduced, maps)), stories[split])
                    for split in stories
                    if split != "train"
                }
                score = measured["validation"]["r10"] + (measured["validation"]["within_story_r1"] or 0.0)
                if best is None or score > best[0]:
                    best = score, [m[:, :width] for m in maps], {**chosen, "dimensions": width}, measured
    _, maps, chosen, measured = best
    whole = [(vectors @ matrix, mean) for (vectors, mean), matrix in zip(sides, maps)]
    return {"maps": whole, "chosen": chosen, "measured": measured}


def principal_components(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The directions `(C, k)` in which features `(N, C)` vary most, and their mean `(C,)`."""
    mean = features.mean(0)
    centred_features = features - mean
    covariance = centred_features.T @ centred_features / len(features)
    return torch.linalg.eigh(covariance).eigenvectors[:, -KEPT:], mean


def canonical_projections(first, second, shrink_first: float, shrink_second: float) -> tuple:
    """
    Maps `(C, d)` of two centred sets of features `(N, C)`, each direction scaled by its canonical correlation
    (Hotelling 1936; with shrinkage, Vinod 1976). `shrink_...` times the mean variance is added to the variances.
    """
    roots = []
    for features, shrink in ((first, shrink_first), (second, shrink_second)):
        covariance = features.T @ features / len(features)
        ridge = shrink * covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype)
        values, vectors = torch.linalg.eigh(covariance + ridge)
        roots.append(vectors * values.clamp(min=TINY).rsqrt() @ vectors.T)
    between = roots[0] @ (first.T @ second / len(first)) @ roots[1]
    left, correlations, right = torch.linalg.svd(between, full_matrices=False)
    return roots[0] @ left * correlations, roots[1] @ right.T * correlations


def centred(features: torch.Tensor, stories: torch.Tensor, share: float) -> torch.Tensor:
    """Features `(N, C)` less `share` of the mean of their story."""
    sums = features.new_zeros(int(stories.max()) + 1, features.shape[1]).index_add_(0, stories, features)
    counts = torch.bincount(stories).clamp(min=1)[:, None]
    return features - share * (sums / counts)[stories]


def _recalls(images: torch.Tensor, texts: torch.Tensor, stories: torch.Tensor) -> dict[str, float]:
    return retrieval_metrics(F.normalize(images, dim=-1), F.normalize(texts, dim=-1), stories)["text_to_image"]


def _features(model, processor, stories, split: str, progress: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the projections read of all pages with a caption, `(N, C)` of pictures and of texts, and their stories."""
    training = model.training
    model.eval()
    pictures, texts, numbers = [], [], []
    for number in tqdm(range(len(stories)), desc=f"aligning {split}", unit="story", disable=not progress):
        story = stories[number]
        told = [i for i, caption in enumerate(story["captions"]) if caption and caption.strip()]
        if not told:
            continue
        chosen = [[story[name][i] for i in told] for name in ("frames", "captions")]
        inputs = processor(frames=[chosen[0]], captions=[chosen[1]], return_tensors="pt").to(model.device)
        pixels, ids, mask = (inputs[name][0] for name in ("pixel_values", "input_ids", "attention_mask"))
        pictures.append(pooled_maps(model.vision_encoder(pixels)[2]).double().cpu())
        states = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        texts.append(mean_of_tokens(states, mask.bool()).double().cpu())
        numbers += [number] * len(told)
    model.train(training)
    if not numbers:
        return torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, dtype=torch.long)
    return torch.cat(pictures), torch.cat(texts), torch.tensor(numbers)
