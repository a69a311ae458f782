console.log(`hello ${process.env.WHOM}`);
if (process.env.STAY) setInterval(() => {}, 1000);
if (process.env.FAIL) process.exit(3);
