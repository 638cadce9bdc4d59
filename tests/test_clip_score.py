"""The CLIP score of painted frames, by a small CLIP with fresh weights."""

import pytest
import torch
from clip_folder import save_clip
from PIL import Image
from storyattn.training.evaluation.clip_score import ClipScore
from torch.testing import assert_close
from transformers import CLIPModel, CLIPProcessor

CAPTIONS = ["The fox.", None, "The owl walks over to the cave and stays there."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    return str(save_clip(tmp_path_factory.mktemp("clip") / "model"))


def frames(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 64, 96), generator=torch.Generator().manual_seed(seed)) / 255


def test_it_is_the_cosine_of_frames_and_captions_that_exist(folder):
    score = ClipScore(folder)
    score.update({"painted": frames(0), "true": frames(1)}, CAPTIONS)
    score.update({"painted": frames(2), "true": frames(3)}, [None] * 3)  # nothing to fit
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    expected = {"painted": 0.0, "true": 0.0}
    for name, pictures in (("painted", frames(0)), ("true", frames(1))):
        for row in (0, 2):
            picture = Image.fromarray((pictures[row] * 255).round().byte().permute(1, 2, 0).numpy())
            options = {"truncation": True, "max_length": 24, "return_tensors": "pt"}
            with torch.no_grad():
                output = model(**processor(text=[CAPTIONS[row]], images=picture, **options))
            cosine = torch.cosine_similarity(output.image_embeds, output.text_embeds).item()
            expected[name] += max(100 * cosine, 0) / 2
    result = score.compute()
    assert (result.pop("count"), result.pop("clip_model")) == (2, folder)
    assert_close(result, expected, atol=1e-3, rtol=1e-3)
    assert expected["painted"] != expected["true"]


def test_what_is_no_clip_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="clip_model: got './nowhere'"):
        ClipScore("./nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="clip_model: got .*, expected a CLIP model"):
        ClipScore(str(tmp_path))
