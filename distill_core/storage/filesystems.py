"""What kind of file system a folder lies on, as far as the run store depends on it."""

from functools import cache
from pathlib import Path

import psutil

# Shared between machines, whose processes do not see each other's memory, which SQLite's WAL lives on.
_NETWORK = frozenset(
    "9p afpfs afs beegfs ceph cifs davfs davfs2 drvfs gcsfuse gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs "
    "prl_fs pvfs2 rclone s3fs smb2 smb3 smbfs sshfs vboxsf vmhgfs vmhgfs-fuse webdav".split()
)


def file_system(folder: Path) -> str:
    """Return the name of the file system a folder lies on, such as `ext4`; empty where the system does not tell."""
    place, found = folder.resolve(), ""
    longest = -1
    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:  # a system that hides them
        return ""
    for mount in mounts:
        point = Path(mount.mountpoint)
        if place.is_relative_to(point) and len(point.parts) >= longest:  # of two at one place, the later lies on top
            longest, found = len(point.parts), str(mount.fstype)
    return found


@cache
def network_warning(folder: Path) -> str | None:
    """Say what to mind where the app's own folder lies on a network file system, None where it does not."""
    kind = file_system(folder)
    if kind.lower().removeprefix("fuse.") not in _NETWORK:
        return None
    return (
        f"The app's own folder {folder} lies on a network file system ({kind}). The list of runs is safe there only "
        "while one machine uses it; set DISTILL_HOME to a folder on a local disk to be sure."
    )
