"""Tiny pretrained models of transformers in folders, and what the tests of models with such parts share."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from conftest import draw_story, small_config
from storyattn import StoryAttnForConditionalGeneration, StoryAttnProcessor
from storyattn.training.models.tokenizer import train_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    BertTokenizer,
    PreTrainedTokenizerFast,
)

CAPTIONS = [text for seed in range(24) for text in draw_story(seed)["captions"] if text]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]

VISION = {
    "efficientnet": {"width_coefficient": 0.2, "depth_coefficient": 0.2, "hidden_dim": 256, "image_size": 32},
    "convnext": {"num_stages": 3, "hidden_sizes": [8, 16, 16], "depths": [1, 1, 1]},
    "vit": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    | {"image_size": 32, "patch_size": 8},
}
TEXT = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    | {"max_position_embeddings": 40},
}
DECODER = {
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 96},
    "llama": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    | {"intermediate_size": 32, "tie_word_embeddings": True},
}


def save_vision(folder: Path, kind: str = "efficientnet") -> Path:
    """Save a vision model with unusual statistics and normalisation."""
    torch.manual_seed(1)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **VISION[kind]))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return folder


def save_text(folder: Path, kind: str = "bert") -> Path:
    """Save a text encoder and its WordPiece tokenizer, which has no start and end token by these names."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    torch.manual_seed(2)
    bert_tokenizer = BertTokenizer(vocab=tokenizer.get_vocab())
    config = AutoConfig.for_model(kind, vocab_size=len(bert_tokenizer), **TEXT[kind])
    AutoModel.from_config(config).save_pretrained(folder)
    bert_tokenizer.save_pretrained(folder)
    return folder


def save_decoder(folder: Path, kind: str = "gpt2") -> Path:
    """Save a causal language model in bfloat16 and its byte-level tokenizer, whose one special token is its end."""
    trained = train_tokenizer(CAPTIONS, 280).backend_tokenizer
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "</s>")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, **special)
    torch.manual_seed(3)
    vocab_size = len(tokenizer) + 3
    config = AutoConfig.for_model(kind, vocab_size=vocab_size, bos_token_id=2, eos_token_id=2, **DECODER[kind])
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=0.3)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_parts(folder: Path) -> dict[str, str]:
    """Save all three parts, text encoder and decoder with different tokenizers; return their folders by part."""
    kinds = {"vision": save_vision, "text": save_text, "decoder": save_decoder}
    return {part: str(save(folder / part)) for part, save in kinds.items()}


def build_model(sources: dict[str, str]) -> StoryAttnForConditionalGeneration:
    """Build the small model of the parts that `save_parts` saved."""
    torch.manual_seed(0)
    build = StoryAttnForConditionalGeneration.from_pretrained_parts
    return build(**sources, config=small_config(), decoder_context_captions=1)


def read_stories(processor: StoryAttnProcessor, seeds: tuple[int, ...] = (1, 2)) -> dict[str, torch.Tensor]:
    """Return drawn stories as tensors, each a frame shorter than the one before."""
    stories = [draw_story(seed, 4 - number) for number, seed in enumerate(seeds)]
    return dict(processor(*([story[name] for story in stories] for name in ("frames", "captions"))))


def outputs(model: StoryAttnForConditionalGeneration, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what the model predicts, in evaluation mode."""
    with torch.no_grad():
        output = model.eval()(**inputs, return_loss=True)
    names = ("loss", "describe_logits", "next_caption_logits", "predicted_frames", "image_embeds", "text_embeds")
    return {name: output[name] for name in names}


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], atol: float = 1e-5) -> bool:
    """Return whether all of `outputs` are close."""
    return all(torch.allclose(one[name], other[name], atol=atol) for name in one)


def tuning(**parts: str) -> SimpleNamespace:
    """Return the flags by which `tune_parts` tunes each part; a part that is left out is tuned."""
    flags = {f"{part}_tuning": parts.get(part, "tuned") for part in ("vision", "text", "decoder")}
    return SimpleNamespace(**flags, trained_parts=None, lora_rank=2, lora_alpha=4.0)
