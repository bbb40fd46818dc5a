package ewsd

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

// affinityCookie binds later calls of a subscription to the server that has it.
const affinityCookie = "X-BackEndOverrideCookie"

// subscriptions remembers who wants events.
type subscriptions struct {
	mu    sync.Mutex
	known map[string]*subscription
}

type subscription struct {
	mailbox, folder, cookie string
	version                 uint64 // of the folder, when it was looked at last
	streaming               bool
}

// maxSubscriptions is how many a mailbox has at most.
const maxSubscriptions = 20

func (s *subscriptions) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = nil
}

func (s *Server) subscribe(c *call) fault.Answer {
	q := c.soap.Body.Subscribe.Streaming
	if q == nil {
		return refuse("ErrorInvalidRequest", "The sandbox has streaming subscriptions only.", 0)
	}
	f, ok := s.folder(c, q.Folders)
	if !ok {
		return answers("Subscribe", noFolder)
	}
	s.subscriptions.mu.Lock()
	defer s.subscriptions.mu.Unlock()
	of := 0
	for _, sub := range s.subscriptions.known {
		if sub.mailbox == c.mailbox {
			of++
		}
	}
	if of >= maxSubscriptions {
		return answers("Subscribe", message{code: "ErrorExceededSubscriptionCount", text: "You have exceeded the available subscriptions for your account."})
	}
	if s.subscriptions.known == nil {
		s.subscriptions.known = map[string]*subscription{}
	}
	id, cookie := rand.Text(), rand.Text()
	s.subscriptions.known[id] = &subscription{mailbox: c.mailbox, folder: f.Name, cookie: cookie, version: f.Version}
	a := answers("Subscribe", message{content: "<m:SubscriptionId>" + id + "</m:SubscriptionId>"})
	if c.Request.Header.Get("X-PreferServerAffinity") == "true" {
		a.Header.Set("Set-Cookie", affinityCookie+"="+cookie+"; path=/; secure; HttpOnly")
	}
	return a
}

func (s *Server) unsubscribe(c *call) fault.Answer {
	s.subscriptions.mu.Lock()
	defer s.subscriptions.mu.Unlock()
	if _, known := s.subscriptions.known[c.soap.Body.Unsubscribe.ID]; !known {
		return answers("Unsubscribe", noSubscription)
	}
	delete(s.subscriptions.known, c.soap.Body.Unsubscribe.ID)
	return answers("Unsubscribe", message{})
}

var noSubscription = message{code: "ErrorSubscriptionNotFound", text: "The specified subscription was not found."}

// claim is the subscription that a stream is for; only one stream reads it.
func (s *Server) claim(c *call) (*subscription, message) {
	s.subscriptions.mu.Lock()
	defer s.subscriptions.mu.Unlock()
	sub := s.subscriptions.known[c.soap.Body.GetStreamingEvents.IDs[0]]
	switch {
	case sub == nil:
		return nil, noSubscription
	case sub.mailbox != c.mailbox:
		return nil, message{code: "ErrorSubscriptionAccessDenied", text: "Access denied. Only the subscription owner may access the subscription."}
	case sub.streaming:
		return nil, message{code: "ErrorNewEventStreamConnectionOpened", text: "Another connection was opened using the same subscription."}
	}
	if cookie, err := c.Cookie(affinityCookie); err != nil || cookie.Value != sub.cookie {
		return nil, noSubscription // another server was reached, which has none like it
	}
	sub.streaming = true
	return sub, message{}
}

// heartbeat is how often a stream says that it lives.
const heartbeat = 5 * time.Second

// stream answers with one document after the other until its time is over.
func (s *Server) stream(w http.ResponseWriter, c *call) {
	q := c.soap.Body.GetStreamingEvents
	if len(q.IDs) != 1 || q.Timeout < 1 || q.Timeout > 30 {
		(*fault.Rule)(nil).Serve(w, c.Request, func() fault.Answer {
			return refuse("ErrorSchemaValidation", "ConnectionTimeout must be from 1 to 30 minutes, for one subscription.", 0)
		})
		return
	}
	sub, refused := s.claim(c)
	if sub == nil {
		(*fault.Rule)(nil).Serve(w, c.Request, func() fault.Answer {
			refused.content = "<m:ErrorSubscriptionIds><m:SubscriptionId>" + escape(q.IDs[0]) + "</m:SubscriptionId></m:ErrorSubscriptionIds>"
			return answers("GetStreamingEvents", refused)
		})
		return
	}
	s.count(1)
	defer func() {
		s.count(-1)
		s.subscriptions.mu.Lock()
		defer s.subscriptions.mu.Unlock()
		sub.streaming = false
	}()
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	s.sendEvents(w, c, sub, time.Duration(q.Timeout)*time.Minute)
}

func (s *Server) count(d int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Streams += d
}

func (s *Server) sendEvents(w http.ResponseWriter, c *call, sub *subscription, life time.Duration) {
	changed, stop := s.config.Store.Watch(c.mailbox)
	defer stop()
	end, beat := time.NewTimer(life), time.NewTicker(heartbeat)
	defer end.Stop()
	defer beat.Stop()
	s.send(w, "OK", "")
	for {
		if v, err := s.config.Store.Version(c.mailbox, sub.folder); err == nil && v != sub.version {
			sub.version = v
			s.send(w, "", s.event(c, sub))
		}
		select {
		case <-changed:
		case <-beat.C:
			s.send(w, "OK", "")
		case <-end.C:
			s.send(w, "Closed", "")
			return
		case <-c.Context().Done():
			return
		}
	}
}

func (s *Server) event(c *call, sub *subscription) string {
	f, err := s.config.Store.Folder(c.mailbox, sub.folder)
	if err != nil {
		return ""
	}
	item := ""
	if n := len(f.Messages); n > 0 {
		item = fmt.Sprintf(`<t:ItemId Id="%s" ChangeKey="%s"/>`, idOf(f, f.Messages[n-1]), changeKey(f.Messages[n-1]))
	} else {
		item = fmt.Sprintf(`<t:FolderId Id="%s"/>`, idOfFolder(f))
	}
	// Documentation and captures have m:Notification where the schema has t:Notification.
	return fmt.Sprintf(`<m:Notifications><m:Notification><t:SubscriptionId>x</t:SubscriptionId><t:NewMailEvent><t:TimeStamp>%s</t:TimeStamp>%s<t:ParentFolderId Id="%s"/></t:NewMailEvent></m:Notification></m:Notifications>`,
		time.Now().UTC().Format(time.RFC3339), item, idOfFolder(f))
}

// send writes one document. There is nothing between two of them.
func (s *Server) send(w http.ResponseWriter, status, content string) {
	if status != "" {
		content = "<m:ConnectionStatus>" + status + "</m:ConnectionStatus>"
	}
	_, _ = w.Write(answers("GetStreamingEvents", message{content: content}).Body) // whoever hung up does not miss it
	_ = http.NewResponseController(w).Flush()
}
