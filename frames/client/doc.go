// Package client is a client for any gateway of the OpenClaw Gateway protocol: it
// dials, answers the challenge, proves a device, calls methods, receives events.
//
// It has two layers.
//
//   - Client is for programs: Dial, Call, CallFinal, Events, Close. One read goroutine
//     a connection, everything else runs on the caller's goroutine.
//   - Conn is for tools that make load: one WebSocket with reused buffers, frames that
//     are built in place, and ScanHead, which finds a frame's id without decoding its
//     payload. A request and its answer cost no allocation.
//
// Lifecycle: Dial returns a Client that is past hello-ok; it lives until Close, until
// the gateway closes it, or until the gateway is silent for twice its tick interval.
// There is no reconnect: a dead Client stays dead and Err says why.
package client
