package notes

var machine []Note
