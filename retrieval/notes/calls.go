package notes

var calls []Note
