"""The read-out of captions: what the text decoder reads before a caption, and the logits of its tokens."""

import torch
import torch.nn.functional as F

from .input_checks import ValueChecks, check_captions, check_vocabulary
from .outputs import StoryAttnModelOutput

TASKS = ("describe", "continue")  # the rows of `prefix_kind` in this order


class CaptionReadoutMixin:
    """Reads captions out of story states, for [`StoryAttnForConditionalGeneration`].

    The text decoder reads, in this order: the last captions verbatim (`decoder_context_captions`), the story state as
    a prefix of embeddings, and the caption itself.
    """

    def decoder_captions(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Choose the captions in the tokens of the text decoder.

        Args:
            input_ids, attention_mask (`(B, T, L)`, *optional*): captions in the tokens of the text encoder.
            decoder_input_ids, decoder_attention_mask (`(B, T, M)`, *optional*): in those of the text decoder.

        Returns:
            ids and mask, both `None` without captions.

        Raises:
            ValueError: where the text decoder has a tokenizer of its own and its ids are not given, and for ids and
                masks of another shape or range.
        """
        if input_ids is None:
            return None, None
        checks = ValueChecks(input_ids, self.training)
        if not self.config.decoder_tokenizer:
            check_vocabulary("input_ids", input_ids, self.num_embeddings, checks)
            checks.run()
            return input_ids.long(), attention_mask.long()
        if decoder_input_ids is None or decoder_attention_mask is None:
            raise ValueError(
                "decoder_input_ids and decoder_attention_mask: got input_ids without them, expected them as well, as "
                "the text decoder has a tokenizer of its own; the processor gives them"
            )
        names, limits = ("decoder_input_ids", "decoder_attention_mask"), (self.num_embeddings, None)
        captions = decoder_input_ids, decoder_attention_mask
        check_captions(names, *captions, tuple(input_ids.shape[:2]), limits, checks)
        checks.run()
        return decoder_input_ids.long(), decoder_attention_mask.long()

    def _all_caption_logits(
        self,
        output: StoryAttnModelOutput,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        caption_mask: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """Compute the logits of all captions `(B, T, L)`, as descriptions and as continuations; {} without captions.

        Captions that `caption_mask (B, T)` hides are not read verbatim before others.
        """
        if input_ids is None:
            return {}
        readable = attention_mask if caption_mask is None else attention_mask * caption_mask.bool()[..., None]
        context = self._last_captions(input_ids, readable, "describe")
        described = self._caption_logits(output.describe_states, input_ids, attention_mask, *context, "describe")
        context = (values[:, :-1] for values in self._last_captions(input_ids, readable, "continue"))
        following = input_ids[:, 1:], attention_mask[:, 1:]
        continued = self._caption_logits(output.continue_states[:, :-1], *following, *context, "continue")
        return {"describe_logits": described, "next_caption_logits": continued}

    def _caption_logits(
        self,
        states: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        context_ids: torch.Tensor,
        context_mask: torch.Tensor,
        task: str,
    ) -> torch.Tensor:
        """Compute the logits `(B, N, L, V)` of the tokens that follow each position of captions `(B, N, L)`.

        The text decoder reads captions `context_ids (B, N, S)` and `states (B, N, K, D)` before them.
        """
        shape = states.shape[:2]
        if 0 in shape:  # stories of one frame have no next caption, and decoders refuse to read nothing
            return states.new_zeros(*shape, input_ids.shape[-1], self.config.vocab_size)
        prefix, prefix_mask = self._prefix(*(x.flatten(0, 1) for x in (states, context_ids, context_mask)), task)
        tokens = self.text_decoder.get_input_embeddings()(input_ids.flatten(0, 1))
        mask = torch.cat([prefix_mask, attention_mask.flatten(0, 1)], dim=1)
        length = input_ids.shape[-1]
        if not isinstance(length, int):  # a length that `torch.export` leaves open would be taken for one place
            length = torch.arange(-length, 0, device=tokens.device)
        logits = self.text_decoder(
            inputs_embeds=torch.cat([prefix, tokens.to(prefix.dtype)], dim=1),
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=length,
        ).logits
        return logits.unflatten(0, shape)

    def _prefix(
        self, states: torch.Tensor, context_ids: torch.Tensor, context_mask: torch.Tensor, task: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed what is read before a caption: captions `context_ids (N, S)`, then `states (N, K, D)`.

        Returns embeddings `(N, S + K, E)` and their mask.
        """
        prefix = self.prefix(states + self.prefix_kind[TASKS.index(task)].to(states.dtype))
        context = self.text_decoder.get_input_embeddings()(context_ids).to(prefix.dtype)
        mask = torch.cat([context_mask, context_mask.new_ones(prefix.shape[:2])], dim=1)
        return torch.cat([context, prefix], dim=1), mask

    def _last_captions(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, task: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Join the last `decoder_context_captions` captions before each of T frames, padded on the left.

        To describe frame t these are the captions before it, to continue from frame t its own caption as well.
        Captions `(B, T, L)` give ids and mask `(B, T, decoder_context_captions * L)`.
        """
        count, includes_last = self.config.decoder_context_captions, int(task == "continue")
        if not count:
            return input_ids[..., :0], attention_mask[..., :0]
        number = input_ids.shape[1]
        rows = []
        for values in (input_ids, attention_mask):
            before = F.pad(values, (0, 0, count - includes_last, 0))[:, : number + count - 1]
            rows.append(before.unfold(1, count, 1).transpose(2, 3).flatten(2))  # (B, T, count * L)
        ids, mask = rows
        mask, order = mask.sort(dim=-1, stable=True)  # what is masked comes first
        return ids.gather(-1, order), mask
