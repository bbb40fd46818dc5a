package program

import (
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/setup"
	"mailporter/workers/internal/slots"
)

// Means are what the edge of a mailbox is made with, beside the mailbox's settings.
type Means struct {
	Config setup.Config
	Broker tokenclient.Broker
	Slots  slots.Slots // bounds the requests of a mailbox, for all workers that share the state
}

func (b *base) means() Means { return Means{b.config, b.broker, b.store.Slots()} }
