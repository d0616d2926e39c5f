"""What the decoding child gives up before it touches a file.

Guaranteed on Linux: a limit on the memory it writes to (RLIMIT_DATA), no core dumps, no file that grows
(RLIMIT_FSIZE), death with its parent. Best effort, where the kernel takes the filter (x86_64 and aarch64): no
sockets, no new programs, no look into other processes (seccomp). Elsewhere only the portable limits hold.

RLIMIT_DATA and not RLIMIT_AS: it counts private writable memory (Linux >= 4.7), which is what a decoder allocates;
the address space also counts every mapped library, about 250 MB of it with NumPy and PyAV.

A network namespace of its own would need a user namespace, in which files that only root may read cannot be opened
any more: the filter on sockets does the same and takes nothing else away.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 13  # SECCOMP_RET_ERRNO with EACCES
_NUMBER_AT, _ARCH_AT = 0, 4  # offsets in struct seccomp_data
_X32_BIT: Final = 0x40000000
_UNUSED: Final = (ctypes.c_ulong(0),) * 3  # prctl reads all of its arguments as unsigned long

_MACHINES: Final = {
    # machine: (AUDIT_ARCH, call numbers)
    # socket, connect, bind, listen, accept(4), sendto, execve(at), ptrace, process_vm_{readv,writev}, io_uring_setup
    "x86_64": (0xC000003E, (41, 42, 49, 50, 43, 288, 44, 59, 322, 101, 310, 311, 425)),
    "aarch64": (0xC00000B7, (198, 203, 200, 201, 202, 242, 206, 221, 281, 117, 270, 271, 425)),
}


def confine(memory_mb: int, parent: int) -> None:
    """Apply all limits to this process, for good. Call it before threads start and before libraries are loaded.

    Args:
        memory_mb: private memory it may write to, in MiB.
        parent: process id of the parent: without it there is nothing to do.
    """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails; it need not kill
    for what, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        resource.setrlimit(what, (value, value))
    if sys.platform != "linux":
        return
    size = memory_mb * 2**20
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), *_UNUSED)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(0)
    _filter_calls(libc)


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Refuse sockets and new programs from here on; whether the kernel took the filter."""
    known = _MACHINES.get(platform.machine())
    if known is None or libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *_UNUSED) != 0:
        return False
    code = call_filter(*known)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HL", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog, padded as C does
    taken: int = libc.prctl(
        _PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.c_char_p(program), *_UNUSED[:2]
    )
    return taken == 0


def call_filter(arch: int, refused: tuple[int, ...]) -> bytes:
    """Classic BPF program that answers `refused` system calls with EACCES, and so foreign calling conventions.

    Source: https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html
    """
    steps = [
        (_LOAD, 0, 0, _ARCH_AT),
        (_JUMP_EQUAL, 0, len(refused) + 3, arch),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_AT_LEAST, len(refused) + 1, 0, _X32_BIT),
        *((_JUMP_EQUAL, len(refused) - k, 0, number) for k, number in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
