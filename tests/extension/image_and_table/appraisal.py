"""One value from an image and a table row together: the data and the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from pandas.api.types import is_numeric_dtype
from torch import nn

from mlrun.data.features import CATEGORY, NUMBER, Image, Row, Value
from mlrun.data.readers.images import read_image
from mlrun.data.readers.table import read_table
from mlrun.data.row_data import Content, RowData


class Houses(RowData):
    """A CSV with the columns photo (a file beside it), price, and others, which are numbers or texts."""

    def __init__(self, path, problem, name, seed, **options):
        super().__init__(problem, name, seed, **options)
        self.path = Path(path)

    def read(self):
        frame = read_table(self.path)
        photos = np.stack([read_image(self.path.parent / name, (16, 16), grey=True) for name in frame["photo"]])
        rest = frame.drop(columns=["photo", "price"])
        kinds = [[name, NUMBER if is_numeric_dtype(rest[name]) else CATEGORY] for name in rest.columns]
        return Content(
            {"photo": photos, "row": rest, "value": frame["price"].to_numpy(float)},
            {"photo": Image([1, 16, 16]), "row": Row(kinds), "value": Value("price")},
            str(self.path),
            targets=("value",),
        )


class TwoBranches(nn.Module):
    """A convolution for the photo, a layer for the row, and one layer for both."""

    def __init__(self, photo_shape, row_shape, num_outputs, width):
        super().__init__()
        self.photo = nn.Sequential(
            nn.Conv2d(photo_shape[0], width, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.row = nn.Sequential(nn.Linear(row_shape[0], width), nn.ReLU())
        self.head = nn.Linear(5 * width, num_outputs)

    def forward(self, pixel_values, features):
        return self.head(torch.cat([self.photo(pixel_values), self.row(features)], 1))
