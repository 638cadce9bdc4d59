"""The model of the notebook that StoryAttn grew out of, with its target corrected.

frames (B,T,3,H,W)                               captions (B,T,L)
    | two convolutional encoders: content, context    | embedding, LSTM
    | projection to 16                                | last state, 16
    |---------------------- GRU over time -----------------|
          attention over its states, projection to 16
    | deconvolutions: the next frame, and the mean of the given ones    | LSTM: the next caption
"""

import torch
from huggingface_hub.dataclasses import strict
from storyattn import StoryAttnOutput
from storyattn.losses import caption_loss, masked_mean
from torch import nn
from transformers.utils import can_return_tuple
from typing_extensions import Unpack

from .base import BaselineConfig, BaselineModel, LossCounts, StoryInputs

READ = ("pixel_values", "input_ids", "attention_mask")
CHANNELS, KERNELS = (3, 16, 32, 64), (7, 5, 3)
GROUPS, SLOPE = 8, 0.1
STRIDE = 2 ** len(KERNELS)


@strict
class NotebookConfig(BaselineConfig):
    """Configuration whose `latent_size` is the width of all latents and of the recurrent states.

    Raises:
        ValueError: for frames whose sides its three convolutions of stride 2 do not divide.
    """

    model_type = "storyattn_notebook"
    LOSS_WEIGHTS = {"next_frame_l1": 1.0, "next_caption": 1.0, "context": 0.2}

    latent_size: int = 16

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if any(side % STRIDE for side in self.image_size):
            raise ValueError(f"image_size: got {self.image_size}, expected multiples of {STRIDE} for the notebook")


class NotebookModel(BaselineModel):
    """Model that predicts the frame and the caption after the given ones from one vector of 16 numbers.

    A window trains its last transition alone, from the frames before it to the last frame. (The notebook compared with
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
        self, return_loss: bool = False, loss_counts: LossCounts | None = None, **inputs: Unpack[StoryInputs]
    ) -> StoryAttnOutput:
        """Predict the frame and the caption after each frame; in training, of the last transition alone.

        Args:
            return_loss: compute the loss of the last transition.
            loss_counts: numbers of transitions and tokens that it is divided by; default: those of the batch.
            inputs: stories.

        Returns:
            `predicted_frames (B, T - 1, 3, H, W)` in [0, 1] and `next_caption_logits (B, T - 1, L, V)`, in training
            `(B, 1, ...)`; with `return_loss` the `loss` and its parts.
        """
        pixel_values, input_ids, attention_mask = (inputs[name] for name in READ)
        latents, last = self.read(**inputs)  # (B, T, D), (B, 1)
        steps = self._given_steps(last, pixel_values.shape[1])  # (B, N)
        following = (steps + 1).clamp(max=pixel_values.shape[1] - 1)
        latents, target_ids = _at(latents, steps), _at(input_ids, following)
        output = StoryAttnOutput(
            predicted_frames=self.paint(self.content_decoder, latents),
            next_caption_logits=self.write(latents, target_ids),
        )
        if return_loss:
            counts = self.count(**inputs) if loss_counts is None else loss_counts
            trained = (steps + 1 == last) & (last > 0)
            captions = target_ids, _at(attention_mask, following) * trained[..., None]
            frames = self.unnormalize(pixel_values)
            error = (output.predicted_frames - _at(frames, following)).abs()
            context = self.paint(self.context_decoder, latents) - _at(_running_mean(frames), steps)
            output.loss_parts = {
                "next_frame_l1": masked_mean(error, trained, counts["next_frame"]),
                "next_caption": caption_loss(output.next_caption_logits, *captions, counts["next_caption"]),
                "context": masked_mean(context.square(), trained, counts["next_frame"]),
            }
            output.loss = self.weighted(output.loss_parts)
        return output

    def _given_steps(self, last: torch.Tensor, num_frames: int) -> torch.Tensor:
        """Return the last given frames `(B, N)` of the transitions to predict: in training that of the last one."""
        if self.training:
            return (last - 1).clamp(min=0)
        return torch.arange(num_frames - 1, device=last.device).expand(len(last), -1)

    def count(self, **inputs: Unpack[StoryInputs]) -> LossCounts:
        """Return the numbers of last transitions and of the tokens to predict of their captions."""
        last = inputs["frame_mask"].sum(1, keepdim=True) - 1
        target_mask = _at(inputs["attention_mask"], last)[:, 0, 1:] * (last > 0)
        return {"next_frame": (last > 0).sum().float(), "next_caption": target_mask.sum().float()}

    def read(self, **inputs: Unpack[StoryInputs]) -> tuple[torch.Tensor, torch.Tensor]:
        """Read stories; return latents `(B, T, latent_size)` up to each frame, and the index `(B, 1)` of the last."""
        pixel_values, input_ids, attention_mask = (inputs[name] for name in READ)
        shape = pixel_values.shape[:2]
        flat = pixel_values.flatten(0, 1)
        seen = torch.cat([self.content_encoder(flat), self.context_encoder(flat)], dim=-1)
        seen = self.visual_projection(seen).unflatten(0, shape)
        states, _ = self.text_encoder(self.embedding(input_ids.flatten(0, 1)))  # (B * T, L, D)
        lengths = attention_mask.flatten(0, 1).sum(1, keepdim=True)  # 0 where a caption is missing
        captions = _at(states, (lengths - 1).clamp(min=0))[:, 0] * (lengths > 0)  # (B * T, D)
        states, _ = self.temporal(torch.cat([seen, captions.unflatten(0, shape)], dim=-1))  # (B, T, D)
        later = torch.ones(shape[1], shape[1], dtype=torch.bool, device=states.device).triu(1)
        scores = self.attention(states).transpose(1, 2).masked_fill(later, -torch.inf)  # (B, T, T)
        context = scores.softmax(-1) @ states
        return self.projection(torch.cat([states, context], dim=-1)), inputs["frame_mask"].sum(1, keepdim=True) - 1

    def paint(self, decoder: nn.Module, latents: torch.Tensor) -> torch.Tensor:
        """Return frames `(B, N, 3, H, W)` in [0, 1] for latents `(B, N, D)`."""
        return decoder(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])

    def write(self, latents: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, N, L, V)` of the token after each of `input_ids (B, N, L)`, from latents `(B, N, D)`."""
        words = self.decoder_embedding(input_ids.flatten(0, 1))
        states, _ = self.text_decoder(words, self._start(latents.flatten(0, 1)))
        return self.words(states).unflatten(0, input_ids.shape[:2])

    @torch.no_grad()
    def predict_next_frame(self, **inputs: Unpack[StoryInputs]) -> torch.Tensor:
        """Return the frame `(B, 3, H, W)` in [0, 1] after the last one of each story; no next caption is read."""
        latents = _at(*self.read(**inputs))
        return self.paint(self.content_decoder, latents)[:, 0]

    @torch.no_grad()
    def generate(
        self,
        pixel_values: torch.Tensor,
        frame_mask: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        task: str = "continue",
        max_new_tokens: int | None = None,
        do_sample: bool = False,
        num_beams: int = 1,
    ) -> torch.Tensor:
        """Write the caption after those of each story, by greedy search.

        Args:
            pixel_values: normalised frames `(B, T, 3, H, W)`.
            frame_mask: `(B, T)`, 1 where the story has a frame.
            input_ids: tokens of the captions `(B, T, L)`.
            attention_mask: `(B, T, L)`, 1 for a token, 0 for padding.
            task: "continue", which is all that it can.
            max_new_tokens: longest caption in tokens; default: `max_caption_length` of the configuration.
            do_sample: False; it does not sample.
            num_beams: 1; it has no beam search.

        Returns:
            Token ids `(B, n)`.

        Raises:
            ValueError: for another task, for sampling and for beams.
        """
        if task != "continue" or do_sample or num_beams != 1:
            given = f"task {task!r}, do_sample {do_sample}, num_beams {num_beams}"
            raise ValueError(f"generate: got {given}, expected 'continue', False and 1")
        inputs = {"pixel_values": pixel_values, "frame_mask": frame_mask}
        inputs |= {"input_ids": input_ids, "attention_mask": attention_mask}
        latents = _at(*self.read(**inputs))[:, 0]
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
        """Return the state `(1, N, D)` and cell `(1, N, D)` in which the text decoder starts."""
        return self.first_state(latents)[None], self.first_cell(latents)[None]


def _encoder(config: NotebookConfig) -> nn.Sequential:
    """Return an encoder of frames `(N, 3, H, W)` to `(N, latent_size)`."""
    layers = []
    for source, target, kernel in zip(CHANNELS, CHANNELS[1:], KERNELS):
        convolution = nn.Conv2d(source, target, kernel, stride=2, padding=kernel // 2)
        layers += [convolution, nn.GroupNorm(GROUPS, target), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(_cells(config) * CHANNELS[-1], config.latent_size))


def _decoder(config: NotebookConfig) -> nn.Sequential:
    """Return a decoder of `(N, latent_size)` to frames `(N, 3, H, W)` in [0, 1]."""
    grid = tuple(side // STRIDE for side in config.image_size)
    layers = [nn.Linear(config.latent_size, _cells(config) * CHANNELS[-1]), nn.Unflatten(1, (CHANNELS[-1], *grid))]
    for source, target, kernel in zip(CHANNELS[:0:-1], CHANNELS[-2::-1], KERNELS[::-1]):
        layers.append(nn.ConvTranspose2d(source, target, kernel, stride=2, padding=kernel // 2, output_padding=1))
        layers += [nn.GroupNorm(GROUPS, target), nn.LeakyReLU(SLOPE)] if target != CHANNELS[0] else [nn.Sigmoid()]
    return nn.Sequential(*layers)


def _cells(config: NotebookConfig) -> int:
    return config.image_size[0] // STRIDE * (config.image_size[1] // STRIDE)


def _running_mean(frames: torch.Tensor) -> torch.Tensor:
    """Return the means `(B, T, 3, H, W)` of each of `frames (B, T, 3, H, W)` and those before it."""
    counts = torch.arange(1, frames.shape[1] + 1, device=frames.device)[:, None, None, None]
    return frames.cumsum(1) / counts


def _at(values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return `values (B, T, ...)` at `steps (B, N)`: `(B, N, ...)`."""
    return values[torch.arange(len(values), device=values.device)[:, None], steps]
