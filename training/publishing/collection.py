"""Put a repository into a collection of the Hub."""

import re

from huggingface_hub import HfApi

from .hub import one_reason

SLUG = re.compile(r"[\w.-]+/[\w.-]+-[0-9a-f]{24}")  # owner, words of the title, an id
LONGEST_TITLE = 60  # characters


def check_collection(collection: str | None, offline: bool = False) -> None:
    """Refuse what is neither the slug of a collection that exists nor a title that a new one may have.

    Args:
        collection: slug, such as `user/stories-64f9a55bb3115b4f513ec026`, or title; `None` for none.
        offline: do not ask the Hub whether there is a collection of that slug.

    Raises:
        ValueError: for a title that cannot be one.
        OSError: where there is no collection of that slug, or the Hub cannot be reached.
    """
    if collection is None:
        return
    if SLUG.fullmatch(collection):
        if not offline:
            with one_reason(f"collection {collection}"):
                HfApi().get_collection(collection)
    elif "/" in collection or not 0 < len(collection.strip()) <= LONGEST_TITLE:
        expected = f"a slug, owner/title-id, or a title of at most {LONGEST_TITLE} characters without a slash"
        raise ValueError(f"collection: got {collection!r}, expected {expected}")


def add_to_collection(collection: str, repo_id: str, private: bool) -> str:
    """Add a model to a collection, unless it is in it, and return the address of the collection.

    Args:
        collection: slug, or title of a collection of the owner of the model, which is made where it is missing.
        repo_id: `user/name` of the model.
        private: make a new collection a private one.

    Raises:
        OSError: with the reason in one line.
    """
    api, slug = HfApi(), collection
    with one_reason(f"collection {collection}", f"; {repo_id} is published, but not in it: run it again"):
        if not SLUG.fullmatch(collection):
            owner = repo_id.split("/")[0]
            slug = api.create_collection(collection, namespace=owner, private=private, exists_ok=True).slug
        return api.add_collection_item(slug, repo_id, "model", exists_ok=True).url
