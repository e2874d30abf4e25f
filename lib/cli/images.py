"""The options that name images, and what they name."""

from __future__ import annotations

import argparse
from pathlib import Path

from fpt.run.image_files import FoundImages, find_images, find_named_images
from fpt.utils.distributed import from_main


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """``--image_dir`` or ``--images``, and ``--recursive``."""
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--image_dir", type=Path, metavar="DIR", help="all images of this folder")
    images.add_argument(
        "--images", metavar="FILE", nargs="+", help='these images, folders of images or patterns ("photos/*.jpg")'
    )
    parser.add_argument(
        "--recursive",
        action="store_true",
        help="take the images of sub-folders, too; their results go into sub-folders of the same names",
    )


def read_images(args: argparse.Namespace) -> FoundImages:
    """The images that the options name, the same on every process: the main one looks.

    Raises:
        UserError: a folder is missing or holds no image, or a pattern finds none.
    """
    if args.image_dir is not None:
        return from_main(lambda: find_images(args.image_dir, enters_folders=args.recursive))
    return from_main(lambda: find_named_images(args.images, enters_folders=args.recursive))
