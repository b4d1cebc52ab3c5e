"""Runs a module with the network shut by the kernel: a process that asks for a socket is ended.

    python tests/offline.py MODULE ARGUMENTS…

By seccomp on Linux (x86-64 or ARM): no library, whatever it is written in, gets around it.
"""

import ctypes
import platform
import runpy
import struct
import sys

_SOCKET = {"x86_64": (41, 0xC000003E), "aarch64": (198, 0xC00000B7)}
"""Number of the system call, and how the kernel calls the architecture."""
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _FAMILY = 0, 4, 16
"""Where in the kernel's record these stand; the family is the first argument."""
_UNIX = 1


def shut() -> None:
    """From now on, sockets other than Unix ones are deadly, here and in all that is started."""
    number, architecture = _SOCKET[platform.machine()]
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 5, architecture),  # another one: end
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 0, 2, number),  # no socket: allow
        (_LOAD, 0, 0, _FAMILY),
        (_JUMP_IF_EQUAL, 0, 1, _UNIX),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL_PROCESS),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    shut()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
