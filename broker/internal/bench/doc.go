// Bench measures the broker against the limits that the design sets, and says honestly what falls short. Run it with
// `make bench`. Everything is a process of its own and talks over loopback: the real broker, the sandbox as identity
// provider, a real Redis, and for the limit a bare gRPC server.
//
// What was done to be fair to both sides of the first row:
//
//   - The limit is a grpc-go server without interceptors, metrics, audit or policy. It answers a fixed message of the same
//     type and the same size as the broker's, so that both encode alike and the caller's work is the same for both.
//   - Both use the same TLS files through the same code, demand client certificates, and take grpc's defaults for
//     everything that costs time; the garbage collector is set alike.
//   - The callers are in this process, on the same machine: what they cost is part of both sides. The table tells the
//     servers' own processor time for each call beside it, where that does not blur the difference.
//   - Callers ask again as soon as they have an answer, and share a connection among sixteen, as the mailboxes of a worker do.
//   - The two are measured in short slices that follow each other in turns, the one that goes first changing every time,
//     and a ratio is the median of the ratios of neighbours. A noisy machine slows both.
//   - The broker has ten thousand mailboxes, a rule for each kind of worker and the caller's at their end, a rate to count,
//     the audit in a file, and the metrics that it always has.
package main
