"""A tiny pretrained vision model and text encoder, for the baseline `projection`."""

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, ConvNextConfig, ConvNextModel, PreTrainedTokenizerFast

WIDTHS = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "initializer_range": 0.5}
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_encoders(folder: Path, tokenizer: PreTrainedTokenizerFast) -> dict[str, str]:
    """Save both encoders, the text encoder with `tokenizer`; return their folders as `vision` and `text`."""
    torch.manual_seed(0)
    vision, text = folder / "vision", folder / "text"
    ConvNextModel(ConvNextConfig(image_size=32, **WIDTHS)).save_pretrained(vision)
    (vision / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3]}))
    BertModel(BertConfig(vocab_size=len(tokenizer), initializer_range=0.5, **SIZES)).save_pretrained(text)
    tokenizer.save_pretrained(text)
    return {"vision": str(vision), "text": str(text)}
