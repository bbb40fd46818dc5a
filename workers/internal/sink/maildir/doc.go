// Package maildir delivers into Maildirs (https://cr.yp.to/proto/maildir.html): a file in tmp, fsynced, linked into new,
// and the folder fsynced before Put says that it has custody.
//
// The file's name is derived from mailbox, folder and key, so that a second Put of the same message leaves one copy, also
// if a mail program moved the first one to cur and put flags behind its name. The bytes are exactly those that came.
//
// Puts that run side by side share the fsyncs of their folder: that is where the time goes.
package maildir
