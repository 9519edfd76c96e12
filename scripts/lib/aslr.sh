# shellcheck shell=bash
# Sourced by what runs programs built with sanitizers. Their runtime of clang 14 needs more address space in one piece than is
# left where the kernel places maps with 32 random bits (vm.mmap_rnd_bits): a program then ends or spins at its first line.

# fixed_addresses: the words to put before a program; none where that is forbidden
fixed_addresses=()
if setarch -R true 2>/dev/null; then
	# shellcheck disable=SC2034
	fixed_addresses=(setarch -R)
fi
