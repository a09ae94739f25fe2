"""How many images and labels a split has, in words, beside what the literature says. Knows no data format."""

from trainer.data.sample import ImageSet, Published


def describe_counts(images: ImageSet, published: Published | None) -> tuple[str, bool]:
    """One line on the split, and whether it differs from what is published, as far as both are known."""
    per_image = None
    found = f"{images.name}: {len(images):,} images"
    if images.targets is not None:
        labels = int((images.targets == 1).sum())
        per_image = labels / len(images)
        found += f", {labels:,} labels ({per_image:.2f} an image)"
    if published is None:
        return found, False
    if len(images) == published.images and _equal_in_print(per_image, published.labels_per_image):
        return f"{found}, as published", False
    expected = f"{published.images:,} images"
    if published.labels_per_image is not None:
        expected += f", {published.labels_per_image:.2f} labels an image"
    return f"{found}; published: {expected}", True


def _equal_in_print(value: float | None, published: float | None) -> bool:
    """To the two decimals that are printed; what is not known contradicts nothing."""
    return value is None or published is None or f"{value:.2f}" == f"{published:.2f}"
