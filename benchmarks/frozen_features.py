"""
Measure how far frozen encoders alone align the pictures and captions of a data set.

An alignment trained on top of them has to reach that; where stories are few, it ends about there.

    python benchmarks/frozen_features.py --dataset FOLDER --vision FOLDER_OR_HUB_ID --text FOLDER_OR_HUB_ID

Features are those of the baseline `projection`, the means over places and over tokens. Canonical correlation analysis
with shrinkage (Vinod 1976) projects both, in closed form, from `train`; shrinkage and dimensions are those that are
best on `validation` (the sum of `r10` and `r1` within the story, text to image). With `--previous` the features of a
page are averaged with those of the pages before it: that shows what the story so far would add.
"""

import argparse

import torch
from datasets import Dataset
from measuring import new_parser, positive, results_table, write_json
from storyattn.image_processing_storyattn import StoryAttnImageProcessor
from storyattn.pretrained_parts import normalization
from storyattn.training.data.sources import read_stories
from storyattn.training.engine.alignment_fit import best_alignment
from storyattn.training.models.baselines.projection import caption_features, picture_features
from storyattn.training.models.tokenizer import load_tokenizer
from tqdm.auto import tqdm
from transformers import AutoModel

MEASURES = ("r1", "r5", "r10", "within_story_r1")


def main(argv: list[str] | None = None) -> None:
    """Print a table of recalls, text to image, for each size of frames, with chance, and write its numbers."""
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", required=True, help="as train.py takes it")
    parser.add_argument("--vision", required=True, help="folder or Hub id of the vision model")
    parser.add_argument("--text", required=True, help="that of the text encoder, whose tokenizer is used")
    parser.add_argument("--sizes", nargs="+", type=positive, default=[96, 192], help="pixels of a side, tables of each")
    parser.add_argument("--max_caption_length", type=positive, default=128, help="tokens of a caption")
    parser.add_argument("--previous", type=int, default=4, help="pages before a page for the rows with story so far")
    parser.add_argument("--test_split", help="measured as well, once all has been chosen")
    parser.add_argument("--output", default="frozen_features.json", help="file for the numbers")
    arguments = parser.parse_args(argv)
    splits = ["train", "validation", *([arguments.test_split] if arguments.test_split else [])]
    stories = {split: read_stories(arguments.dataset, split) for split in splits}
    texts = {split: text_features(arguments, rows) for split, rows in stories.items()}
    numbers = {split: story_numbers(rows) for split, rows in stories.items()}
    rows = []
    for size in arguments.sizes:
        pictures = {split: frame_features(arguments.vision, stories[split], size) for split in splits}
        for previous in dict.fromkeys((0, arguments.previous)):
            sides = [
                {split: with_previous(features, numbers[split], previous) for split, features in side.items()}
                for side in (pictures, texts)
            ]
            recalls = best_alignment(*sides, numbers, centring=(0.0,))["measured"]
            what = "the page alone" if not previous else f"with the {previous} before"
            rows += [{"size": size, "reads": what, "split": split, **recalls[split]} for split in splits[1:]]
    columns = {name: lambda row, name=name: str(row[name]) for name in ("size", "reads", "split")}
    columns |= {name: lambda row, name=name: f"{row[name]:.4f}" for name in MEASURES}
    columns |= {f"chance {name}": lambda row, name=name: f"{row[f'chance_{name}']:.4f}" for name in MEASURES[2:]}
    print(f"\nshrinkage and dimensions chosen on validation\n\n{results_table(columns, rows)}")
    write_json({"dataset": arguments.dataset, "previous": arguments.previous, "rows": rows}, arguments.output)
    print(f"\nwritten to {arguments.output}")


def story_numbers(stories: Dataset) -> torch.Tensor:
    """Return the number of its story `(N,)` for each page that has a caption."""
    return torch.tensor([i for i, captions in enumerate(stories["captions"]) for caption in captions if caption])


@torch.no_grad()
def text_features(arguments: argparse.Namespace, stories: Dataset) -> torch.Tensor:
    """Return features `(N, C)` of all captions."""
    encoder = AutoModel.from_pretrained(arguments.text, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(arguments.text)
    captions = [caption for row in stories["captions"] for caption in row if caption]
    features = []
    for start in tqdm(range(0, len(captions), 32), desc="reading captions", unit="batch"):
        options = {"padding": True, "truncation": True, "max_length": arguments.max_caption_length}
        inputs = tokenizer(captions[start : start + 32], return_tensors="pt", **options)
        features.append(caption_features(encoder, inputs["input_ids"], inputs["attention_mask"]))
    return torch.cat(features).double()


@torch.no_grad()
def frame_features(source: str, stories: Dataset, size: int) -> torch.Tensor:
    """
    Return features `(N, C)` of all frames that have a caption.

    Args:
        source: folder or Hub id of the vision model.
        stories: the stories.
        size: pixels of a side to which frames are cropped.
    """
    encoder = AutoModel.from_pretrained(source, dtype=torch.float32).eval()
    processor = StoryAttnImageProcessor(size={"height": size, "width": size}, **normalization(source))
    features = []
    for story in tqdm(stories, desc=f"looking at {size} x {size} pixels", unit="story"):
        frames = [frame for frame, caption in zip(story["frames"], story["captions"]) if caption]
        if frames:
            features.append(picture_features(encoder, processor(frames, return_tensors="pt")["pixel_values"]))
    return torch.cat(features).double()


def with_previous(features: torch.Tensor, stories: torch.Tensor, previous: int) -> torch.Tensor:
    """
    Average the features of each page with those of the pages before it in its story.

    Args:
        features: `(N, C)`, of pages in the order of their stories.
        stories: `(N,)`, the number of each page's story.
        previous: how many pages before a page are averaged with it, at most.
    """
    means = []
    for number in stories.unique():
        pages = features[stories == number]
        means += [pages[max(0, page - previous) : page + 1].mean(0) for page in range(len(pages))]
    return torch.stack(means)


if __name__ == "__main__":
    main()
