// Package stage holds what the demo and the interop run share: programs that are started, killed and stopped; letters of
// every awkward shape; a submitter; and the comparison of what was sent with what arrived, byte for byte.
package stage
