"""The kind of file system a folder is on, as far as the run store depends on it."""

from functools import cache
from pathlib import Path

import psutil

# SQLite's WAL needs memory shared by all processes, which these file systems cannot give between machines.
_NETWORK = frozenset(
    "9p afpfs afs beegfs ceph cifs davfs davfs2 drvfs gcsfuse gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs "
    "prl_fs pvfs2 rclone s3fs smb2 smb3 smbfs sshfs vboxsf vmhgfs vmhgfs-fuse webdav".split()
)


def file_system(folder: Path) -> str:
    """Return the name of a folder's file system, such as `ext4`; empty if the system does not report it."""
    place, kind = folder.resolve(), ""
    longest = -1
    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:  # a system that hides them
        return ""
    for mount in mounts:
        point = Path(mount.mountpoint)
        if (
            place.is_relative_to(point) and len(point.parts) >= longest
        ):  # of two mounts at one point, the later one is visible
            longest, kind = len(point.parts), str(mount.fstype)
    return kind


@cache
def network_warning(folder: Path) -> str | None:
    """Return a warning if the application's folder is on a network file system, else None."""
    kind = file_system(folder)
    if kind.lower().removeprefix("fuse.") not in _NETWORK:
        return None
    return (
        f"The application's folder {folder} is on a network file system ({kind}). The list of runs is safe there only "
        "while one machine uses it; set DISTILL_HOME to a folder on a local disk."
    )
