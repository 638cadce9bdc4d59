"""
The model of the notebook that StoryAttn grew out of, with its target put right.

frames (B,T,3,H,W)                               captions (B,T,L)
    | two convolutional encoders: content, context    | embedding, LSTM
    | projection to 16                                | last state, 16
    |---------------------- GRU over time -----------------|
          attention over its states, projection to 16
    | deconvolutions: the next frame, and the mean of those given    | LSTM: the next caption
"""

import torch
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnOutput
from storyattn.losses import caption_loss, masked_mean
from torch import nn
from transformers.utils import can_return_tuple

from .base import BaselineConfig, BaselineModel

CHANNELS, KERNELS = (3, 16, 32, 64), (7, 5, 3)
GROUPS, SLOPE = 8, 0.1
STRIDE = 2 ** len(KERNELS)


@strict
class NotebookConfig(BaselineConfig):
    """`latent_size`: width of all latents and of the recurrent states. Raises `ValueError` for frames that its three
    convolutions of stride 2 do not divide."""

    model_type = "storyattn_notebook"
    LOSS_WEIGHTS = {"next_frame_l1": 1.0, "next_caption": 1.0, "context": 0.2}

    latent_size: int = 16

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if any(side % STRIDE for side in self.image_size):
            raise ValueError(f"image_size: found {self.image_size}, expected multiples of {STRIDE} for the notebook")


class NotebookModel(BaselineModel):
    """
    Predicts the frame and the caption after the given ones from one vector of 16 numbers.

    A window trains its last transition alone: from the frames before to the last one. (The notebook compared with
    another frame than the one that follows.) Nothing reads the next caption.
    """

    config_class = NotebookConfig
    evaluation_notes = (
        "the notebook never reads the next caption: next_frame, its shuffled_caption and next_frame_alone are the same",
    )

    def __init__(self, config: NotebookConfig):
        super().__init__(config)
        size = config.latent_size
        self.content_encoder, self.context_encoder = (_encoder(config) for _ in range(2))
        self.visual_projection = nn.Linear(2 * size, size)
        self.embedding = nn.Embedding(config.vocab_size, size)
        self.text_encoder = nn.LSTM(size, size, batch_first=True)
        self.temporal = nn.GRU(2 * size, size, batch_first=True)
        self.attention = nn.Sequential(nn.Linear(size, size), nn.Tanh(), nn.Linear(size, 1))
        self.projection = nn.Linear(2 * size, size)
        self.content_decoder, self.context_decoder = (_decoder(config) for _ in range(2))
        self.decoder_embedding = nn.Embedding(config.vocab_size, size)
        self.first_state, self.first_cell = (nn.Linear(size, size) for _ in range(2))
        self.text_decoder = nn.LSTM(size, size, batch_first=True)
        self.words = nn.Linear(size, config.vocab_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self, pixel_values, frame_mask, input_ids, attention_mask, return_loss=False, loss_counts=None, **_
    ) -> StoryAttnOutput:
        """
        `predicted_frames (B, T - 1, 3, H, W)` in [0, 1] and `next_caption_logits (B, T - 1, L, V)`; in training those
        of the last transition alone, `(B, 1, ...)`. With `return_loss` the `loss` of the last transition. Arguments as
        those of the model.
        """
        latents, last = self.read(pixel_values, frame_mask, input_ids, attention_mask)  # (B, T, D), (B, 1)
        number = pixel_values.shape[1] - 1
        every = torch.arange(number, device=last.device).expand(len(last), -1)
        steps = (last - 1).clamp(min=0) if self.training else every  # (B, N): the last given frames
        following = (steps + 1).clamp(max=number)
        latents = _at(latents, steps)
        target_ids, target_mask = _at(input_ids, following), _at(attention_mask, following)
        output = StoryAttnOutput(
            predicted_frames=self.paint(self.content_decoder, latents),
            next_caption_logits=self.write(latents, target_ids),
        )
        if return_loss:
            trained = (steps + 1 == last) & (last > 0)
            counts = self.count(frame_mask, attention_mask) if loss_counts is None else loss_counts
            frames = self.unnormalize(pixel_values)
            given = torch.arange(1, number + 2, device=last.device)[:, None, None, None]
            context = self.paint(self.context_decoder, latents) - _at(frames.cumsum(1) / given, steps)
            error = (output.predicted_frames - _at(frames, following)).abs()
            told = target_ids, target_mask * trained[..., None]
            output.loss_parts = {
                "next_frame_l1": masked_mean(error, trained, counts["next_frame"]),
                "next_caption": caption_loss(output.next_caption_logits, *told, counts["next_caption"]),
                "context": masked_mean(context.square(), trained, counts["next_frame"]),
            }
            output.loss = self.weighted(output.loss_parts)
        return output

    def count(self, frame_mask, attention_mask, **batch) -> dict[str, torch.Tensor]:
        """Last transitions, and the tokens to predict of their captions."""
        last = frame_mask.sum(1, keepdim=True) - 1
        told = _at(attention_mask, last)[:, 0, 1:] * (last > 0)
        return {"next_frame": (last > 0).sum().float(), "next_caption": told.sum().float()}

    def read(self, pixel_values, frame_mask, input_ids, attention_mask) -> tuple[torch.Tensor, torch.Tensor]:
        """What is known after each frame, `(B, T, latent_size)`, and the index `(B, 1)` of each story's last frame."""
        shape = pixel_values.shape[:2]
        flat = pixel_values.flatten(0, 1)
        seen = torch.cat([self.content_encoder(flat), self.context_encoder(flat)], dim=-1)
        seen = self.visual_projection(seen).unflatten(0, shape)
        states, _ = self.text_encoder(self.embedding(input_ids.flatten(0, 1)))  # (B * T, L, D)
        lengths = attention_mask.flatten(0, 1).sum(1, keepdim=True)  # 0 where a caption is missing
        told = _at(states, (lengths - 1).clamp(min=0))[:, 0] * (lengths > 0)
        states, _ = self.temporal(torch.cat([seen, told.unflatten(0, shape)], dim=-1))  # (B, T, D)
        later = torch.ones(shape[1], shape[1], dtype=torch.bool, device=states.device).triu(1)
        scores = self.attention(states).transpose(1, 2).masked_fill(later, -torch.inf)  # (B, T, T)
        context = scores.softmax(-1) @ states
        return self.projection(torch.cat([states, context], dim=-1)), frame_mask.sum(1, keepdim=True) - 1

    def paint(self, decoder: nn.Module, latents: torch.Tensor) -> torch.Tensor:
        """Latents `(B, N, D)` as frames `(B, N, 3, H, W)` in [0, 1]."""
        return decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])

    def write(self, latents: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """Logits `(B, N, L, V)` of the token after each of captions `input_ids (B, N, L)`, from latents `(B, N, D)`."""
        words = self.decoder_embedding(input_ids.flatten(0, 1))
        states, _ = self.text_decoder(words, self._start(latents.flatten(0, 1)))
        return self.words(states).unflatten(0, input_ids.shape[:2])

    @torch.no_grad()
    def predict_next_frame(self, pixel_values, frame_mask, input_ids, attention_mask, **following) -> torch.Tensor:
        """The frame `(B, 3, H, W)` in [0, 1] after the last one of each story; a caption that follows is not read."""
        latents = _at(*self.read(pixel_values, frame_mask, input_ids, attention_mask))
        return self.paint(self.content_decoder, latents)[:, 0]

    @torch.no_grad()
    def generate(
        self,
        pixel_values,
        frame_mask,
        input_ids,
        attention_mask,
        task="continue",
        max_new_tokens=None,
        do_sample=False,
        num_beams=1,
    ) -> torch.Tensor:
        """
        Ids `(B, n)` of the caption after those of each story, by greedy search.

        Raises `ValueError` for another task than "continue", and for sampling and beams.
        """
        if task != "continue" or do_sample or num_beams != 1:
            found = f"task {task!r}, do_sample {do_sample}, num_beams {num_beams}"
            raise ValueError(f"generate: got {found}, expected 'continue', False and 1")
        latents = _at(*self.read(pixel_values, frame_mask, input_ids, attention_mask))[:, 0]
        state, config = self._start(latents), self.config
        word = torch.full((len(latents), 1), config.bos_token_id, device=latents.device)
        done, written = torch.zeros_like(word, dtype=torch.bool), []
        while len(written) < (max_new_tokens or config.max_caption_length) and not done.all():
            hidden, state = self.text_decoder(self.decoder_embedding(word), state)
            word = self.words(hidden).argmax(-1).masked_fill(done, config.pad_token_id)  # (B, 1)
            done = done | (word == config.eos_token_id)
            written.append(word)
        return torch.cat(written, dim=1)

    def _start(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The state `(1, N, D)` and cell in which the text decoder begins."""
        return self.first_state(latents)[None], self.first_cell(latents)[None]


def _encoder(config: NotebookConfig) -> nn.Sequential:
    """Frames `(N, 3, H, W)` to `(N, latent_size)`."""
    layers = []
    for source, target, kernel in zip(CHANNELS, CHANNELS[1:], KERNELS):
        convolution = nn.Conv2d(source, target, kernel, stride=2, padding=kernel // 2)
        layers += [convolution, nn.GroupNorm(GROUPS, target), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_cells(config) * CHANNELS[-1], config.latent_size))


def _decoder(config: NotebookConfig) -> nn.Sequential:
    """`(N, latent_size)` to frames `(N, 3, H, W)` in [0, 1]."""
    grid = tuple(side // STRIDE for side in config.image_size)
    layers = [nn.Linear(config.latent_size, _cells(config) * CHANNELS[-1]), nn.Unflatten(1, (CHANNELS[-1], *grid))]
    for source, target, kernel in zip(CHANNELS[:0:-1], CHANNELS[-2::-1], KERNELS[::-1]):
        layers.append(nn.ConvTranspose2d(source, target, kernel, stride=2, padding=kernel // 2, output_padding=1))
        layers += [nn.GroupNorm(GROUPS, target), nn.LeakyReLU(SLOPE)] if target != CHANNELS[0] else [nn.Sigmoid()]
    return nn.Sequential(*layers)


def _cells(config: NotebookConfig) -> int:
    return config.image_size[0] // STRIDE * (config.image_size[1] // STRIDE)


def _at(values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """`values (B, T, ...)` at `steps (B, N)`: `(B, N, ...)`."""
    return values[torch.arange(len(values), device=values.device)[:, None], steps]
