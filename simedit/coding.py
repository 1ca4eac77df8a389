"""How a video's frames are encoded: found, kept in videos made of it, and joined as it is."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from simedit.errors import SimeditError
from simedit.ffmpeg import input_of, reason, running

_CODEC = re.compile(r"Stream #0:\d+.*: Video: (\w+)")
_PIXELS = re.compile(r" n: +\d.* fmt:(\w+) ")
_COLOURS = re.compile(r"color_range:(\w+) color_space:(\w+) color_primaries:(\S+) color_trc:(\S+)")
_DEEP = {f"yuv{kind}p10le" for kind in ("420", "422", "444")}
_PLANAR = {f"yuv{kind}p" for kind in ("420", "422", "444")} | _DEEP
_ENCODERS = {
    # One thread, where more would change the bytes: what is begun on one machine may be ended on another.
    "h264": (_PLANAR, 23, ["libx264", "-bf", "0", "-threads", "1"]),
    "hevc": (_PLANAR, 28, ["libx265", "-x265-params", "log-level=none:bframes=0:pools=none:frame-threads=1"]),
    "av1": ({"yuv420p", "yuv420p10le"}, 30, ["libsvtav1", "-preset", "8", "-svtav1-params", "lp=1"]),
}
"""What is encoded anew as it was: pixel formats, the quality that its encoder takes (of AV1, LeRobot's own),
and the encoder."""
_MATRICES = {
    "unknown": "bt601",
    "bt470bg": "bt601",
    "smpte170m": "bt601",
    "bt709": "bt709",
    "bt2020nc": "bt2020",
}
"""What a video says of its colours, and ffmpeg's name for the arithmetic. Where it says nothing, readers take
BT.601."""


@dataclass(frozen=True)
class Coding:
    """How frames are encoded. Names are ffmpeg's; "unknown" is what a video says nothing of.

    Attributes:
        codec: "h264", "hevc" or "av1".
        pixels: their format, such as "yuv420p"; "" is that, or "yuv444p" where sides are odd.
        range, matrix, primaries, transfer: of the colours.
        crf: the encoder's quality, lower is better.
        keyframes: at most so many frames from one keyframe to the next, and bytes that depend on no
            machine's processors; None leaves both to x264.
    """

    codec: str = "h264"
    pixels: str = ""
    range: str = "tv"
    matrix: str = "bt709"
    primaries: str = "bt709"
    transfer: str = "bt709"
    crf: int = 10
    keyframes: int | None = None

    def filters(self, size: tuple[int, int]) -> str:
        """What makes RGB frames of that height and width into these colours."""
        # Halved chroma needs even sides.
        kind = self.pixels or ("yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p")
        said = f"colorspace={self.matrix}:color_primaries={self.primaries}:color_trc={self.transfer}"
        matrix, full = _MATRICES[self.matrix], "pc" if self.range == "pc" else "tv"
        scaled = f"scale=out_color_matrix={matrix}:out_range={full}"
        return f"{scaled},format={kind},setparams={said}:range={self.range}"

    def encoder(self) -> list[str]:
        """ffmpeg's arguments that encode them."""
        if self.keyframes is None:
            return ["-c:v", "libx264", "-crf", str(self.crf), "-bf", "0"]
        return ["-c:v", *_ENCODERS[self.codec][2], "-crf", str(self.crf), "-g", str(self.keyframes)]


def coding_of(path: Path) -> Coding:
    """How a video is encoded, whatever its codec and pixels; its quality it does not tell.

    Raises:
        SimeditError: it cannot be read.
    """
    arguments = [*input_of(path), "-vf", "showinfo=checksum=0", "-frames:v", "1", "-f", "null", "-"]
    with running(arguments) as (_, said):
        pass
    head = "".join(said)
    codec, pixels, colours = (found.search(head) for found in (_CODEC, _PIXELS, _COLOURS))
    if not (codec and pixels and colours):
        raise SimeditError(f"cannot read the video {path}: ffmpeg does not tell how it is encoded")
    told = dict(zip(("range", "matrix", "primaries", "transfer"), map(str, colours.groups()), strict=True))
    return replace(Coding(codec[1], pixels[1].replace("yuvj", "yuv"), keyframes=_keyframes(path)), **told)


def kept(coding: Coding) -> Coding:
    """The coding in which frames of such a video are written: the same, in its encoder's usual quality, or
    H.264 in BT.709 where there is no encoder here for its codec, pixels or colours."""
    formats = _ENCODERS[coding.codec][0] if coding.codec in _ENCODERS else ()
    if coding.pixels not in formats or coding.matrix not in _MATRICES:
        coding = Coding(keyframes=coding.keyframes)
    return replace(coding, crf=_ENCODERS[coding.codec][1])


def join(parts: Sequence[Path], target: Path, rate: Fraction) -> None:
    """Lay videos of one coding one after another, without encoding them anew.

    Args:
        parts: files of one folder, with plain names.
        target: the file written.
        rate: frames a second of all of them. Each frame's time is its number by the rate: lengths of files,
            of which ffmpeg keeps millionths of seconds, would add up to more.

    Raises:
        SimeditError: it cannot be written.
    """
    listed = parts[0].with_name("parts.ffconcat")
    listed.write_text("ffconcat version 1.0\n" + "".join(f"file {part.name}\n" for part in parts))
    ticks = f"{rate.denominator}/({rate.numerator}*TB)"
    times = f"setts=pts=round(N*{ticks}):dts=round(N*{ticks}):duration=round({ticks})"
    arguments = ["-v", "error", "-y", "-f", "concat", *input_of(listed), "-c", "copy", "-bsf:v", times]
    with running([*arguments, "-movflags", "+faststart", f"file:{target}"]) as (process, said):
        pass
    if process.returncode or said:
        raise SimeditError(f"cannot write the video {target}: {reason(said)}")


def _keyframes(path: Path) -> int:
    """Frames from one keyframe to the next, the most of them there are."""
    arguments = ["-v", "error", *input_of(path), "-c", "copy", "-f", "framecrc", "-"]
    with running(arguments, stdout=subprocess.PIPE) as (process, said):
        assert process.stdout is not None
        packets = [line for line in process.stdout.read().decode().splitlines() if not line.startswith("#")]
    if process.returncode or said or not packets:
        raise SimeditError(f"cannot read the video {path}: {reason(said) or 'it holds no frames'}")
    keys = [i for i, packet in enumerate(packets) if ", F=" not in packet]
    ends = [*keys[1:], len(packets)]
    return max(end - begin for begin, end in zip(keys, ends, strict=True)) if keys else len(packets)
