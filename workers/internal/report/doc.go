// Package report writes delivery reports: what became of a message and, in words, what to do about it.
//
// A report is a multipart/report (RFC 6522) of three parts: one for people, one for programs (RFC 3464; RFC 6533 where
// addresses are not ASCII), and the message that it is about, or its header. Whom it tells and when is decided in package
// outbound; here is only its form. Start at Writer.Report.
//
// A report is plain 7-bit mail, so that it gets through where the message did not. The one exception is a message that was
// itself 8-bit and is returned whole.
//
// RFC 3464 section 2 wants reports to have no return path. They have that of the mailbox: a submission server takes mail
// from a mailbox's own address alone, and Exchange Online refuses the null one with 550 5.7.60. What that section wants to prevent, reports
// about reports, NOTIFY=NEVER prevents.
package report
