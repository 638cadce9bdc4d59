"""`generate(..., custom_generate="user/name")`: run the function that a repository or folder has for it."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from transformers.generation import GenerationMixin

from .pictures import shortened

FROM_REPOSITORY = ("revision", "token", "cache_dir", "local_files_only")  # where and how the function is loaded


def with_custom_generate(generate: Callable) -> Callable:
    """Give `generate` the arguments `custom_generate` and `trust_remote_code` of the library.

    A string names a folder, or a repository on the Hub. Its `custom_generate/generate.py` then runs with the model and
    all other arguments; `revision`, `token`, `cache_dir` and `local_files_only` say where it comes from. The library
    refuses it without `trust_remote_code=True`. A function replaces the loop that writes a caption, as in the library.
    """

    @wraps(generate)
    def wrapper(
        self: GenerationMixin,
        *args,
        custom_generate: str | Callable | None = None,
        trust_remote_code: bool | None = None,
        **kwargs,
    ) -> Any:
        if not isinstance(custom_generate, str):
            options = {} if custom_generate is None else {"custom_generate": custom_generate}
            return generate(self, *args, **options, **kwargs)
        if args:
            got = f"{len(args)} argument{'s' * (len(args) > 1)} without a name"
            raise ValueError(f"custom_generate: got {shortened(repr(custom_generate))} with {got}, expected none")
        source = {name: kwargs.pop(name) for name in FROM_REPOSITORY if name in kwargs}
        function = self.load_custom_generate(custom_generate, trust_remote_code=trust_remote_code, **source)
        return function(model=self, **kwargs)

    return wrapper
