"""How sizes and speeds are written for people."""


def format_bytes(count: float) -> str:
    """`1_117_320_768` as "1.12 GB". Decimal units, as disks and download pages use."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"


def format_rate(count: int, seconds: float) -> str:
    """Bytes over a time as "12.3 MB/s"."""
    return f"{format_bytes(count / seconds)}/s" if seconds > 0 else "at once"
