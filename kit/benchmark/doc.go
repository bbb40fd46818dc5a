// Package benchmark holds what the benchmark programs say alike: a measured number against its limit, and the line about it
// that other programs may read.
package benchmark
