"""Memory that the service returns to the system."""

import platform
import subprocess
import sys

import pytest

WHERE = """
import ctypes
from app.serving.model import return_large_blocks
{call}
bytearray(16 << 20)  # after this array is freed, glibc keeps smaller ones
kept = bytearray(4 << 20)
place = ctypes.addressof(ctypes.c_char.from_buffer(kept))
maps = [line.split() for line in open("/proc/self/maps")]
heap = next(line[0].split("-") for line in maps if line[-1] == "[heap]")
print(int(heap[0], 16) <= place < int(heap[1], 16))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
@pytest.mark.parametrize(("call", "in_heap"), [("", "True"), ("return_large_blocks()", "False")])
def test_large_arrays_do_not_stay_in_the_heap(call, in_heap):
    code = WHERE.format(call=call)
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == in_heap
