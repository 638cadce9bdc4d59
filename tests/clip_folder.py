"""A CLIP model with fresh weights and a tokenizer of a few words, as a folder."""

import json
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

WORDS = ("<|startoftext|>", "<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz.,'0123456789")
TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**TEXT, "image_size": 32, "patch_size": 8}


def save_clip(folder: Path) -> Path:
    """Write a CLIP of fresh weights, which reads pictures of 32 x 32 pixels and 24 tokens."""
    folder.mkdir(parents=True)
    vocabulary = {word: index for index, word in enumerate([*WORDS, *(f"{word}</w>" for word in WORDS[2:])])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    size = {"vocab_size": len(vocabulary), "max_position_embeddings": 24, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config={**TEXT, **size}, vision_config=VISION, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
