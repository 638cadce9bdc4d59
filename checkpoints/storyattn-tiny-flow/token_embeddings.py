"""The token embeddings of text encoder and text decoder, where the library looks for them and resizes them."""

from torch import nn


class EncoderEmbeddingsMixin:
    """Embeddings of [`StoryAttnModel`]: those of its text encoder."""

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding of the text encoder."""
        return self.text_encoder.get_input_embeddings()

    @property
    def num_embeddings(self) -> int | None:
        """The number of tokens that the text encoder can read; None where its embedding does not say."""
        return getattr(self.get_input_embeddings(), "num_embeddings", None)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding of the text encoder."""
        self.text_encoder.set_input_embeddings(value)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resize the embedding of the text encoder.

        Args:
            new_num_tokens, pad_to_multiple_of, mean_resizing: as of the library.

        Returns:
            the new embedding.
        """
        decoder_size = self.config.decoder_config.vocab_size
        embeddings = super().resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        self.config.text_config.vocab_size = embeddings.num_embeddings
        if self.config.decoder_tokenizer:  # the library takes the decoder's for the one that was resized
            self.config.decoder_config.vocab_size = decoder_size
        return embeddings


class DecoderEmbeddingsMixin:
    """Embeddings of [`StoryAttnForConditionalGeneration`]: those of its text decoder."""

    def get_input_embeddings(self) -> nn.Module:
        """Return the token embedding of the text decoder."""
        return self.text_decoder.get_input_embeddings()

    @property
    def num_embeddings(self) -> int | None:
        """The number of tokens that the text decoder can read; None where its embedding does not say."""
        return getattr(self.get_input_embeddings(), "num_embeddings", None)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding of the text decoder."""
        self.text_decoder.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the output layer of the text decoder."""
        return self.text_decoder.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the output layer of the text decoder."""
        self.text_decoder.set_output_embeddings(value)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Resize the embeddings of the text decoder, and of the text encoder where both share a tokenizer.

        Where they do not, `model.base_model.resize_token_embeddings` resizes those of the text encoder.

        Args:
            new_num_tokens, pad_to_multiple_of, mean_resizing: as of the library.

        Returns:
            the new input embedding of the text decoder.
        """
        options = new_num_tokens, pad_to_multiple_of, mean_resizing
        if not self.config.decoder_tokenizer:
            self.model.resize_token_embeddings(*options)
        return super().resize_token_embeddings(*options)
