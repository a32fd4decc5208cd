"""The shipped profile files, with aliases, sources and platform beside them, and their loader."""

from profiles.loader import SHIPPED, Alias, Catalog, Source, load_catalog

__all__ = ["SHIPPED", "Alias", "Catalog", "Source", "load_catalog"]
