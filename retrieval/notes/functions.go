package notes

var functions []Note
