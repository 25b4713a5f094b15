"""Pack the numbers of a report as columns: rounded, byte-shuffled and compressed; the browser unpacks them.

The content is a JSON header followed by the columns, little-endian. `page.js` reads it.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING = -32768  # code of a missing value among rounded ones
LARGEST = 32767  # code of the largest rounded value


class Columns:
    """Collect arrays, and pack them with a header into one text.

    Args:
        digits: Significant digits kept of the largest value of each row.
    """

    def __init__(self, digits: int) -> None:
        self.digits = digits
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, values: NDArray[Any]) -> dict[str, Any]:
        """Add numbers unrounded, and return a description of where they are stored.

        Args:
            values: Integers are stored in 32 bits, others in single precision.
        """
        kind = "i32" if np.issubdtype(values.dtype, np.integer) else "f32"
        flat = np.ascontiguousarray(values.ravel(), "<i4" if kind == "i32" else "<f4")
        return {"kind": kind, "at": self._append(flat.tobytes()), "length": len(flat)}

    def add_rounded(self, values: NDArray[Any]) -> dict[str, Any]:
        """Add rows of numbers rounded to 16 bits, (rows, width), and return a description of where they are stored.

        The values of a row are multiples of one unit, a power of ten; the unit is 1 where all values of the
        row are whole numbers below 32768.
        """
        sizes = np.nan_to_num(np.abs(values.astype(np.float64)), nan=0.0, posinf=0.0)
        top = sizes.max(1, initial=0.0)
        are_integers = (sizes == np.rint(sizes)).all(1) & (top <= LARGEST)
        power = np.floor(np.log10(np.where(top > 0, top, 1.0))) - self.digits + 1
        unit = np.where(are_integers, 1.0, 10.0**power)
        scaled = np.rint(np.nan_to_num(values.astype(np.float64), nan=0.0) / unit[:, None])
        finite = np.isfinite(values)
        numbers = np.where(finite, np.clip(scaled, -LARGEST, LARGEST), MISSING).astype("<i2")
        halves = numbers.view(np.uint8).reshape(*numbers.shape, 2)
        at = self._append(halves[..., 0].tobytes() + halves[..., 1].tobytes())
        rows, width = numbers.shape
        return {
            "kind": "rounded", "at": at, "rows": rows, "width": width, "unit": self.add(unit),
        }  # fmt: skip

    def _append(self, content: bytes) -> int:
        at = self._size
        self._parts.append(
            content + bytes(-len(content) % 4)
        )  # typed arrays start at multiples of 4
        self._size += len(self._parts[-1])
        return at

    def pack(self, header: dict[str, Any]) -> str:
        """Return the header and the columns, compressed with gzip and encoded in base64.

        The same content gives the same text.
        """
        text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        content = len(text).to_bytes(4, "little") + text + b"".join(self._parts)
        return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")
