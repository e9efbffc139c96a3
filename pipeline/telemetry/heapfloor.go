package telemetry

// heapFloorBytes are reserved and never touched, so they are address space and no
// memory. The collector counts them as live: with the usual GOGC it first runs when
// there is as much garbage as this, not at 4 MiB. A gateway lives on 4 MiB, so it ran 60
// times a second under durable writes and took a fifth of their processor time
// (sessions.patch from 64 connections: 60 -> 46 µs a write, with 8 MiB more resident
// under load and 0.5 KiB more for an idle connection of 10 000).
const heapFloorBytes = 8 << 20

// heapFloorLeast is the memory limit from which on the floor does not matter to it.
const heapFloorLeast = 16 * heapFloorBytes

// heapFloor makes the floor; its holder keeps it alive. Who has set GOGC, or has little
// memory, gets none.
func heapFloor(limit MemoryLimit, getenv func(string) string) []byte {
	if getenv("GOGC") != "" || limit.Bytes > 0 && limit.Bytes < heapFloorLeast {
		return nil
	}
	return make([]byte, heapFloorBytes)
}
