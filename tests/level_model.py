"""A model, its processor and stories of plain grey frames, of which every measure is known beforehand."""

from types import SimpleNamespace

import torch
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from transformers import BatchFeature

HEIGHT, WIDTH = 16, 24


class LevelProcessor:
    """Frames of one grey level; the caption "k" stands for level k / 10 and is the tokens start, 10 + k, end."""

    def __init__(self):
        scale = (WIDTH / 48, HEIGHT / 32) * 2
        self.image_processor = SimpleNamespace(
            transform_boxes=lambda boxes, size: [[edge * s for edge, s in zip(box, scale)] for box in boxes]
        )

    def __call__(self, frames, captions=None, return_tensors="pt"):
        captions = captions or [[None] * len(story) for story in frames]
        count = max(map(len, frames))
        pixels = torch.zeros(len(frames), count, 3, HEIGHT, WIDTH)
        ids, mask = torch.zeros(2, len(frames), count, 3, dtype=torch.long)
        frame_mask = torch.zeros(len(frames), count, dtype=torch.long)
        for row, (pictures, texts) in enumerate(zip(frames, captions)):
            for column, (picture, text) in enumerate(zip(pictures, texts)):
                pixels[row, column] = picture.getpixel((0, 0))[0] / 255 * 2 - 1
                frame_mask[row, column] = 1
                if text:
                    ids[row, column], mask[row, column] = torch.tensor([1, 10 + int(text), 2]), 1
        tensors = {"pixel_values": pixels, "frame_mask": frame_mask, "input_ids": ids, "attention_mask": mask}
        return BatchFeature(tensors)

    def tokenize_captions(self, captions):
        pictures = [[PILImage.new("RGB", (1, 1))] * len(story) for story in captions]
        return self(pictures, captions)

    def batch_decode(self, ids, skip_special_tokens=True):
        return [str(int(row[0]) - 10) for row in ids]


class LevelModel(torch.nn.Module):
    """Paints the level that the next caption names, without one repeats the last frame; describes what it sees."""

    base_model = property(lambda self: self.look)
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(max_frames=3, max_caption_length=8, image_size=[HEIGHT, WIDTH])
        self.part = torch.nn.Dropout()

    def unnormalize(self, pixel_values):
        return (pixel_values + 1) / 2

    def perceptual_distance(self, a, b):
        return (a - b).abs().flatten(1).mean(dim=1)

    def look(self, pixel_values, frame_mask, input_ids, attention_mask):
        maps = torch.zeros(*frame_mask.shape, 2, 4, 6)
        maps[..., 0, 0] = 1.0
        levels = (self.unnormalize(pixel_values)[:, :, 0, 0, 0] * 10).round().long()
        one_hot = torch.nn.functional.one_hot(torch.stack([levels, input_ids[:, :, 1] - 10]).clamp(min=0), 11).float()
        return SimpleNamespace(image_embeds=one_hot[0], text_embeds=one_hot[1], spatial_attentions=maps, levels=levels)

    def forward(self, pixel_values, frame_mask, input_ids, attention_mask, return_loss=False, use_next_caption=True):
        assert not self.training
        output = self.look(pixel_values, frame_mask, input_ids, attention_mask)
        frames = self.unnormalize(pixel_values)
        levels = torch.where(attention_mask[:, 1:, 1] > 0, (input_ids[:, 1:, 1] - 10) / 10, frames[:, :-1, 0, 0, 0])
        levels = torch.where(frame_mask[:, 1:] > 0, levels, 0.5)  # what is painted for a padded frame is no matter
        output.predicted_frames = levels[..., None, None, None].expand_as(frames[:, 1:])
        output.reconstructed_frames = frames + 0.1
        output.describe_logits = torch.zeros(*input_ids.shape, 32)
        output.describe_logits.scatter_(3, (10 + output.levels)[:, :, None, None].expand(-1, -1, 3, 1), 5.0)
        output.next_caption_logits = output.describe_logits[:, :-1]
        output.loss, output.loss_parts = torch.tensor(2.0), {"l1": torch.tensor(0.5)}
        return output

    def predict_next_frame(self, pixel_values, frame_mask, input_ids, attention_mask, **following):
        rows, last = torch.arange(len(frame_mask)), frame_mask.sum(dim=1) - 1
        frames = self.unnormalize(pixel_values)[rows, last]
        if not following:
            return frames
        is_captioned = following["next_attention_mask"][:, 1] > 0
        levels = torch.where(is_captioned, (following["next_input_ids"][:, 1] - 10) / 10, frames[:, 0, 0, 0])
        return levels[:, None, None, None].expand_as(frames)

    def generate(self, pixel_values, frame_mask, input_ids, attention_mask, task, **options):
        rows, last = torch.arange(len(frame_mask)), frame_mask.sum(dim=1) - 1
        levels = self.look(pixel_values, frame_mask, input_ids, attention_mask).levels[rows, last]
        return 10 + levels[:, None] + (task == "continue")


def level_stories(levels: list[list[int]], captions=None, boxes=False) -> Dataset:
    """Stories whose frames have the given grey levels, in tenths, 32 x 48 pixels large."""
    frames = [[PILImage.new("RGB", (48, 32), (round(25.5 * k),) * 3) for k in story] for story in levels]
    columns = {
        "story_id": [f"story {i}" for i in range(len(levels))],
        "frames": frames,
        "captions": captions or [[str(k) for k in story] for story in levels],
    }
    features = {"story_id": Value("string"), "frames": List(Image()), "captions": List(Value("string"))}
    if boxes:
        box = {"entity": "fox", "kind": "character", "box": [0.0, 0.0, 16.0, 16.0]}
        event = {"kind": "brightens", "entity": "fox", "box": [0.0, 0.0, 16.0, 16.0]}
        columns["boxes"] = [[[box] for _ in story] for story in levels]
        columns["events"] = [[event for _ in story] for story in levels]
        place = {"entity": Value("string"), "kind": Value("string"), "box": List(Value("float32"))}
        features |= {"boxes": List(List(place)), "events": List(place)}
    return Dataset.from_dict(columns, features=Features(features))
