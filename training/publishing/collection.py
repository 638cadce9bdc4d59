"""Put a repository into a collection of the Hub."""

import re

from huggingface_hub import HfApi

from .hub import one_reason

SLUG = re.compile(r"[\w.-]+/[\w.-]+-[0-9a-f]{24}")  # owner, words of the title, an id
LONGEST_TITLE = 60  # characters


def find_collection(collection: str) -> str | None:
    """Return the slug of a collection that exists, `None` for a title.

    Args:
        collection: slug, such as `user/stories-64f9a55bb3115b4f513ec026`, or title.

    Raises:
        ValueError: for a title that cannot be one.
        OSError: where there is no collection of that slug, or the Hub cannot be reached.
    """
    if SLUG.fullmatch(collection):
        with one_reason(collection):
            return HfApi().get_collection(collection).slug
    if "/" in collection or not 0 < len(collection.strip()) <= LONGEST_TITLE:
        expected = f"a slug, owner/title-id, or a title of at most {LONGEST_TITLE} characters without a slash"
        raise ValueError(f"collection: got {collection!r}, expected {expected}")
    return None


def add_to_collection(slug: str | None, title: str, repo_id: str, private: bool, repo_type: str = "model") -> str:
    """Add a repository that exists to a collection, which is made where it is missing; return its address.

    Args:
        slug: what `find_collection` gives.
        title: title of the collection where `slug` is `None`; it belongs to the owner of the repository.
        repo_id: `user/name` of the repository.
        private: make a new collection a private one.
        repo_type: `"model"` or `"dataset"`.

    Raises:
        OSError: with the reason in one line.
    """
    api = HfApi()
    with one_reason(slug or title, f"; {repo_id} is published, but is in no collection: run it again"):
        if slug is None:
            owner = repo_id.split("/")[0]
            slug = api.create_collection(title, namespace=owner, private=private, exists_ok=True).slug
        return api.add_collection_item(slug, repo_id, repo_type, exists_ok=True).url
