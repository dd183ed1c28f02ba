"""What `medcompress` prints of the facts about a file, for people. For programs there is `--json`."""

from __future__ import annotations

from pathlib import Path

from .terminal import shape_text, short_text, size_text, stretches_text

HIDDEN = "(not shown without --phi)"


def proven_text(quality: dict) -> str:
    """What is known of the decoded voxels."""
    if quality["kind"] == "lossless":
        return "decoded again and identical"
    reached = quality["reached"]
    if quality["kind"] == "constant-background":
        return (f"LOSSY, decoded again: regions of interest identical; {reached['changed_voxels']} of the volume's "
                f"{reached['voxels']} voxels, around them, replaced by {quality['value']}")
    allowed = f" ({quality['max_error']} allowed)" if "max_error" in quality else ""
    psnr = f", PSNR {reached['psnr_db']:.2f} dB with the peak {reached['peak']:.6g}" if "psnr_db" in reached else ""
    return (f"LOSSY, decoded again: no voxel is off by more than {reached['max_error']:.6g}{allowed}, "
            f"{reached['rmse']:.3g} on average (RMSE){psnr}")


def _target_text(quality: dict) -> str:
    """What a lossy file was made for."""
    if quality["kind"] == "constant-background":
        return f"regions of interest exact, all else {quality['value']}"
    return ", ".join(f"{name} {value:g}" for name, value in quality.get("target", {}).items()) or (
        f"bound {quality['max_error']}")


def archive_rows(facts: dict) -> dict[str, str]:
    """Title to text, of what `api.info` says of an archive."""
    rows = {
        "files": f"{facts['files']} of {size_text(facts['files_bytes'])}, "
                 f"{facts['files_without_image']} without an image",
        "size": size_text(facts["file_bytes"]),
        "ratio": f"{facts['ratio']:.3f}",
    }
    for number, series in enumerate(facts["series"], start=1):
        size = shape_text(series["shape"]) if series["shape"] else "images of several sizes"
        rows[f"series {number}"] = f"{series['modality'] or 'unknown modality'}, {series['files']} files, {size}"
        for name in ("uid", "number", "description"):
            if series.get(name) not in (None, ""):
                rows[f"  {name} {number}"] = str(series[name])
        rows |= {f"  {name} {number}": value for name, value in series.get("patient", {}).items()}
    for number, volume in enumerate(facts["volumes"], start=1):
        rows[f"volume {number}"] = (f"{shape_text(volume['shape'])} of {volume['dtype']}, {volume['codec']}, preset "
                                    f"{volume['preset']}, {size_text(volume['bytes'])}")
    return rows | ({"names": short_text(facts["names"])} if "names" in facts else {})


def volume_rows(facts: dict) -> dict[str, str]:
    """The same for a volume."""
    slabs = facts["slabs"]
    rows = {
        "voxels": f"{shape_text(facts['shape'])} ({facts['axes']}) of {facts['dtype']}",
        "spacing": f"{' x '.join(f'{step:.6g}' for step in facts['spacing_mm'])} mm (kji)",
        "codec": f"{facts['codec']}, preset {facts['preset']}, {facts['quality']['kind']}",
        "size": f"{size_text(facts['file_bytes'])} for {size_text(facts['voxel_bytes'])} of voxels",
        "ratio": f"{facts['ratio']:.3f} ({facts['bits_per_voxel']:.3f} bits per voxel)",
        "slabs": f"{slabs['count']} of {slabs['frames']} frames x {slabs['slices']} slices",
        "SHA-256": facts["voxel_sha256"],
    }
    if "first_slices" in facts:
        rows["begins with"] = "slices " + ", then ".join(map(stretches_text, facts["first_slices"]))
    if facts["sequence"]:
        sequence = facts["sequence"]
        unit = sequence["unit"] or "no unit"
        rows["sequence"] = f"{sequence['index_name']} ({unit}): {short_text(sequence['values'])}"
    if facts["quality"]["kind"] != "lossless":
        rows["asked for"] = _target_text(facts["quality"])
        rows["reached"] = proven_text(facts["quality"])
    for key, value in facts["metadata"].items():
        rows[f"metadata {key}"] = value if value == HIDDEN else short_text(value)
    return rows


def show(path: Path, rows: dict[str, str]) -> None:
    """Print rows one below the other."""
    width = max(map(len, rows)) + 2
    print(path)
    for name, text in rows.items():
        print(f"  {name + ':':{width}}{text}")
