"""Tiny models of transformers in folders of their own, as a stranger has pretrained them, for the tests."""

import json
from pathlib import Path

import torch
from conftest import draw_story
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
    """A vision model whose statistics and normalisation are those of nobody else."""
    torch.manual_seed(1)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **VISION[kind]))
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return folder


def save_text(folder: Path, kind: str = "bert") -> Path:
    """A text encoder and its WordPiece tokenizer, which has no start and end token by these names."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=120, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    torch.manual_seed(2)
    own = BertTokenizer(vocab=tokenizer.get_vocab())
    AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=len(own), **TEXT[kind])).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder


def save_decoder(folder: Path, kind: str = "gpt2") -> Path:
    """A causal language model in bfloat16 and its byte-level tokenizer, whose one special token is its end."""
    known = train_tokenizer(CAPTIONS, 280).backend_tokenizer
    own = PreTrainedTokenizerFast(tokenizer_object=known, bos_token="</s>", eos_token="</s>", unk_token="</s>")
    torch.manual_seed(3)
    config = AutoConfig.for_model(kind, vocab_size=len(own) + 3, bos_token_id=2, eos_token_id=2, **DECODER[kind])
    model = AutoModelForCausalLM.from_config(config)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.data.normal_(std=0.3)
    model.to(torch.bfloat16).save_pretrained(folder)
    own.save_pretrained(folder)
    return folder
